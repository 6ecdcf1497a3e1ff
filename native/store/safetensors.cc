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

/// One entry of the header, before it is tied to the data.
struct Entry {
  std::string name;
  TensorType type = TensorType::kU8;
  std::vector<uint64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data
  uint64_t end = 0;
};

TensorType parse_type(JsonScanner& json) {
  const std::string name = json.string();
  for (const TypeInfo& info : kTypes) {
    if (name == info.name) return info.type;
  }
  json.fail("unknown dtype " + quote(name));
}

std::vector<uint64_t> parse_integers(JsonScanner& json) {
  std::vector<uint64_t> values;
  json.expect('[');
  if (json.accept(']')) return values;
  do {
    values.push_back(json.integer());
  } while (json.accept(','));
  json.expect(']');
  return values;
}

/// The object behind a tensor's name.
Entry parse_entry(JsonScanner& json, std::string name) {
  Entry entry;
  entry.name = std::move(name);
  std::optional<TensorType> type;
  std::optional<std::vector<uint64_t>> shape, offsets;
  json.expect('{');
  do {
    const std::string key = json.string();
    json.expect(':');
    const bool repeated = (key == "dtype" && type) || (key == "shape" && shape) || (key == "data_offsets" && offsets);
    if (repeated) json.fail("second " + quote(key) + " of tensor " + quote(entry.name));
    if (key == "dtype") {
      type = parse_type(json);
    } else if (key == "shape") {
      shape = parse_integers(json);
    } else if (key == "data_offsets") {
      offsets = parse_integers(json);
    } else {
      json.fail("unknown key " + quote(key) + " of tensor " + quote(entry.name));
    }
  } while (json.accept(','));
  json.expect('}');
  if (!type || !shape || !offsets || offsets->size() != 2) json.fail("tensor " + quote(entry.name) + " lacks dtype, shape or two data_offsets");
  entry.type = *type;
  entry.shape = std::move(*shape);
  entry.begin = (*offsets)[0];
  entry.end = (*offsets)[1];
  return entry;
}

void parse_metadata(JsonScanner& json, std::map<std::string, std::string, std::less<>>& metadata) {
  json.expect('{');
  if (json.accept('}')) return;
  do {
    std::string key = json.string();
    json.expect(':');
    std::string value = json.string();
    if (!metadata.emplace(std::move(key), std::move(value)).second) json.fail("a key of __metadata__ appears twice");
  } while (json.accept(','));
  json.expect('}');
}

std::vector<Entry> parse_header(std::string_view text, std::map<std::string, std::string, std::less<>>& metadata) {
  std::vector<Entry> entries;
  JsonScanner json(text);
  bool has_metadata = false;
  json.expect('{');
  if (!json.accept('}')) {
    do {
      std::string name = json.string();
      json.expect(':');
      if (name != "__metadata__") {
        entries.push_back(parse_entry(json, std::move(name)));
        continue;
      }
      if (has_metadata) json.fail("second __metadata__");
      has_metadata = true;
      parse_metadata(json, metadata);
    } while (json.accept(','));
    json.expect('}');
  }
  json.end();
  return entries;
}

/// Empty when the entry agrees with itself and lies inside the data; otherwise what is wrong.
std::string entry_fault(const Entry& entry, uint64_t data_bytes) {
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return "has data_offsets [" + std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "], but there are " + std::to_string(data_bytes) + " bytes of data";
  }
  uint64_t bytes = tensor_type_size(entry.type);
  for (uint64_t dim : entry.shape) {
    if (dim != 0 && bytes > UINT64_MAX / dim) return "has a shape that overflows";
    bytes *= dim;
  }
  if (bytes != entry.end - entry.begin) {
    return "needs " + std::to_string(bytes) + " bytes for its shape and dtype, but has " + std::to_string(entry.end - entry.begin);
  }
  return {};
}

/// The data must be covered from front to back, each byte by one tensor: a hole could hide bytes, an overlap could alias weights.
void check_cover(std::vector<Entry>& entries, uint64_t data_bytes, const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < at) bad_file(path, "tensor " + quote(entry.name) + " overlaps the one before it");
    if (entry.begin > at) bad_file(path, "there is a hole of " + std::to_string(entry.begin - at) + " bytes before tensor " + quote(entry.name));
    at = entry.end;
  }
  if (at != data_bytes) bad_file(path, std::to_string(data_bytes - at) + " bytes after the last tensor belong to none");
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

  std::vector<Entry> entries;
  try {
    entries = parse_header(text, metadata_);
  } catch (const JsonError& e) {
    bad_file(path, e.what() + std::string(" of the header"));
  }
  const std::span<const std::byte> data = bytes.subspan(8 + header_bytes);
  data_bytes_ = data.size();
  for (const Entry& entry : entries) {
    if (const std::string fault = entry_fault(entry, data_bytes_); !fault.empty()) bad_file(path, "tensor " + quote(entry.name) + " " + fault);
  }
  check_cover(entries, data_bytes_, path);
  for (Entry& entry : entries) {
    const auto [place, fresh] = tensors_.try_emplace(entry.name);
    if (!fresh) bad_file(path, "tensor " + quote(entry.name) + " appears twice");
    Tensor& tensor = place->second;
    tensor.name = std::move(entry.name);
    tensor.type = entry.type;
    tensor.shape = std::move(entry.shape);
    tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    tensor.file = file_.get();
  }
}

}  // namespace lutra::store
