#include "store/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "store/json_scanner.h"

namespace lutra::store {
namespace {

struct TypeInfo {
  TensorType type;
  const char* name;
  size_t size;
};

constexpr std::array<TypeInfo, 15> kTypes{{
    {TensorType::kBool, "BOOL", 1},     {TensorType::kU8, "U8", 1},         {TensorType::kI8, "I8", 1},
    {TensorType::kF8E5M2, "F8_E5M2", 1}, {TensorType::kF8E4M3, "F8_E4M3", 1}, {TensorType::kU16, "U16", 2},
    {TensorType::kI16, "I16", 2},       {TensorType::kF16, "F16", 2},       {TensorType::kBF16, "BF16", 2},
    {TensorType::kU32, "U32", 4},       {TensorType::kI32, "I32", 4},       {TensorType::kF32, "F32", 4},
    {TensorType::kU64, "U64", 8},       {TensorType::kI64, "I64", 8},       {TensorType::kF64, "F64", 8},
}};

[[noreturn]] void bad_file(const std::string& path, const std::string& what) {
  throw Error(ErrorCode::kBadFile, "'" + path + "' is not a valid safetensors file: " + what, "download or convert the model again");
}

TensorType parse_type(JsonScanner& json) {
  const std::string name = json.string();
  for (const TypeInfo& info : kTypes) {
    if (name == info.name) return info.type;
  }
  json.fail("unknown dtype " + quote(name));
}

/// Up to `out.size()` integers in brackets; how many there were.
size_t parse_integers(JsonScanner& json, std::span<uint64_t> out) {
  json.expect('[');
  if (json.accept(']')) return 0;
  size_t count = 0;
  do {
    if (count == out.size()) json.fail("more than " + std::to_string(out.size()) + " numbers");
    out[count++] = json.integer();
  } while (json.accept(','));
  json.expect(']');
  return count;
}

/// Refuses a tensor that does not agree with itself or does not lie inside the data.
void check_tensor(JsonScanner& json, const Tensor& tensor, uint64_t begin, uint64_t end, uint64_t data_bytes) {
  const auto fail = [&](const std::string& what) { json.fail("tensor " + quote(tensor.name) + " " + what); };
  if (begin > end || end > data_bytes) {
    fail("has data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "], but there are " + std::to_string(data_bytes) + " bytes of data");
  }
  uint64_t bytes = tensor_type_size(tensor.type);
  for (uint64_t dim : tensor.shape) {
    if (dim != 0 && bytes > UINT64_MAX / dim) fail("has a shape that overflows");
    bytes *= dim;
  }
  if (bytes != end - begin) fail("needs " + std::to_string(bytes) + " bytes for its shape and dtype, but has " + std::to_string(end - begin));
}

/// The object behind a tensor's name.
void parse_tensor(JsonScanner& json, std::span<const std::byte> data, Tensor& tensor) {
  std::optional<TensorType> type;
  std::array<uint64_t, SafetensorsFile::kMaxRank> shape;
  std::array<uint64_t, 2> offsets;
  std::optional<size_t> rank, offset_count;
  json.expect('{');
  do {
    const std::string key = json.string();
    json.expect(':');
    const bool repeated = (key == "dtype" && type) || (key == "shape" && rank) || (key == "data_offsets" && offset_count);
    if (repeated) json.fail("second " + quote(key) + " of tensor " + quote(tensor.name));
    if (key == "dtype") {
      type = parse_type(json);
    } else if (key == "shape") {
      rank = parse_integers(json, shape);
    } else if (key == "data_offsets") {
      offset_count = parse_integers(json, offsets);
    } else {
      json.fail("unknown key " + quote(key) + " of tensor " + quote(tensor.name));
    }
  } while (json.accept(','));
  json.expect('}');
  if (!type || !rank || offset_count != offsets.size()) json.fail("tensor " + quote(tensor.name) + " lacks dtype, shape or two data_offsets");
  tensor.type = *type;
  tensor.shape.assign(shape.begin(), shape.begin() + static_cast<ptrdiff_t>(*rank));
  check_tensor(json, tensor, offsets[0], offsets[1], data.size());
  tensor.data = data.subspan(offsets[0], offsets[1] - offsets[0]);
}

/// Strings by strings. Nothing in it concerns lutra, so nothing is kept.
void skip_metadata(JsonScanner& json) {
  json.expect('{');
  if (json.accept('}')) return;
  do {
    json.string();
    json.expect(':');
    json.string();
  } while (json.accept(','));
  json.expect('}');
}

using Tensors = std::map<std::string, Tensor, std::less<>>;

/// Tensors go into the map as they are read: a hostile header must not cost a multiple of itself.
void parse_header(JsonScanner& json, const MappedFile& file, std::span<const std::byte> data, Tensors& tensors) {
  bool has_metadata = false;
  json.expect('{');
  if (json.accept('}')) return json.end();
  do {
    std::string name = json.string();
    json.expect(':');
    if (name == "__metadata__") {
      if (has_metadata) json.fail("second __metadata__");
      has_metadata = true;
      skip_metadata(json);
      continue;
    }
    const auto [place, fresh] = tensors.try_emplace(std::move(name));
    if (!fresh) json.fail("tensor " + quote(place->first) + " appears twice");
    place->second.name = place->first;
    place->second.file = &file;
    parse_tensor(json, data, place->second);
  } while (json.accept(','));
  json.expect('}');
  json.end();
}

/// The data must be covered from front to back, each byte by one tensor: a hole could hide bytes, an overlap could alias weights.
void check_cover(const Tensors& tensors, std::span<const std::byte> data, const std::string& path) {
  std::vector<const Tensor*> order;
  order.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const Tensor* a, const Tensor* b) { return a->data.data() != b->data.data() ? a->data.data() < b->data.data() : a->data.size() < b->data.size(); });
  const std::byte* at = data.data();
  for (const Tensor* tensor : order) {
    if (tensor->data.data() < at) bad_file(path, "tensor " + quote(tensor->name) + " overlaps the one before it");
    if (tensor->data.data() > at) bad_file(path, "there is a hole of " + std::to_string(tensor->data.data() - at) + " bytes before tensor " + quote(tensor->name));
    at += tensor->data.size();
  }
  const auto left = static_cast<size_t>(data.data() + data.size() - at);
  if (left != 0) bad_file(path, std::to_string(left) + " bytes after the last tensor belong to none");
}

}  // namespace

const char* tensor_type_name(TensorType type) noexcept { return kTypes[static_cast<size_t>(type)].name; }
size_t tensor_type_size(TensorType type) noexcept { return kTypes[static_cast<size_t>(type)].size; }

std::string Tensor::description() const {
  std::string text = std::string(tensor_type_name(type)) + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

void Tensor::check(TensorType expected, size_t size, size_t alignment) const {
  if (type != expected || size != tensor_type_size(type)) {
    throw Error(ErrorCode::kBadFile, "tensor " + quote(name) + " is " + description() + ", expected " + tensor_type_name(expected), "convert the model again");
  }
  if (reinterpret_cast<uintptr_t>(data.data()) % alignment != 0) {
    throw Error(ErrorCode::kBadFile, "the data of tensor " + quote(name) + " is not aligned to " + std::to_string(alignment) + " bytes",
                "convert the model again; `lutra convert` aligns to 64 bytes");
  }
}

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(std::make_unique<MappedFile>(path)) {
  const std::span<const std::byte> bytes = file_->bytes();
  if (bytes.size() < 8) bad_file(path, "it has " + std::to_string(bytes.size()) + " bytes");
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | static_cast<uint64_t>(bytes[static_cast<size_t>(i)]);
  if (header_bytes > kMaxHeader) bad_file(path, "its header would have " + std::to_string(header_bytes) + " bytes");
  if (header_bytes > bytes.size() - 8) {
    bad_file(path, "its header has " + std::to_string(header_bytes) + " bytes, but the file ends after " + std::to_string(bytes.size() - 8));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  if (text.empty() || text.front() != '{') bad_file(path, "its header does not begin with '{'");
  if (!is_utf8(text)) bad_file(path, "its header is not UTF-8");

  const std::span<const std::byte> data = bytes.subspan(8 + header_bytes);
  data_bytes_ = data.size();
  JsonScanner json(text);
  try {
    parse_header(json, *file_, data, tensors_);
  } catch (const JsonError& e) {
    bad_file(path, e.what() + std::string(" of the header"));
  }
  check_cover(tensors_, data, path);
}

}  // namespace lutra::store
