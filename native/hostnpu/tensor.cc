#include "hostnpu/tensor.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "hostnpu/encoding.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxRank = 8;
constexpr uint64_t kMaxBytes = uint64_t{1} << 32;  // sizes are 32 bits wide in the interface
constexpr int32_t kMaxOffset = 1 << 20;            // keeps code + offset exact in float
constexpr uint32_t kMaxNames = 4096;               // bytes of a name

struct TypeRow {
  abi::DataType type;
  const char* name;
  uint8_t bytes;
};

constexpr TypeRow kTypes[] = {
    {abi::DataType::kInt8, "INT8", 1},      {abi::DataType::kInt16, "INT16", 2},   {abi::DataType::kInt32, "INT32", 4},  {abi::DataType::kInt64, "INT64", 8},
    {abi::DataType::kUint8, "UINT8", 1},    {abi::DataType::kUint16, "UINT16", 2}, {abi::DataType::kUint32, "UINT32", 4}, {abi::DataType::kUint64, "UINT64", 8},
    {abi::DataType::kFloat16, "F16", 2},    {abi::DataType::kFloat32, "F32", 4},   {abi::DataType::kFloat64, "F64", 8},  {abi::DataType::kSfixed8, "S8", 1},
    {abi::DataType::kSfixed16, "S16", 2},   {abi::DataType::kSfixed32, "S32", 4},  {abi::DataType::kUfixed8, "U8", 1},   {abi::DataType::kUfixed16, "U16", 2},
    {abi::DataType::kUfixed32, "U32", 4},   {abi::DataType::kBool8, "BOOL8", 1},   {abi::DataType::kSfixed4, "S4", 0},   {abi::DataType::kUfixed4, "U4", 0},
    {abi::DataType::kString, "STRING", 0},
};

const TypeRow* find_type(abi::DataType type) noexcept {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) return &row;
  }
  return nullptr;
}

[[noreturn]] void bad(abi::ErrorCode code, const std::string& name, const std::string& what) { throw Failure(code, "tensor '" + name + "' " + what); }

std::string parse_name(const char* name) {
  if (name == nullptr) throw Failure(abi::kTensorInvalidParam, "a tensor has no name");
  const size_t length = strnlen(name, kMaxNames + 1);
  if (length > kMaxNames) throw Failure(abi::kTensorInvalidParam, "the name of a tensor is longer than " + std::to_string(kMaxNames) + " bytes");
  return std::string(name, length);
}

}  // namespace

size_t data_type_size(abi::DataType type) noexcept {
  const TypeRow* row = find_type(type);
  return row == nullptr ? 0 : row->bytes;
}

const char* data_type_name(abi::DataType type) noexcept {
  const TypeRow* row = find_type(type);
  return row == nullptr ? "?" : row->name;
}

std::optional<kernels::Element> element_of(abi::DataType type) noexcept {
  switch (type) {
    case abi::DataType::kFloat32: return kernels::Element::kF32;
    case abi::DataType::kFloat16: return kernels::Element::kF16;
    case abi::DataType::kUfixed8: return kernels::Element::kU8;
    case abi::DataType::kSfixed8: return kernels::Element::kS8;
    case abi::DataType::kUfixed16: return kernels::Element::kU16;
    case abi::DataType::kSfixed16: return kernels::Element::kS16;
    default: return std::nullopt;
  }
}

bool Quantization::operator==(const Quantization& other) const noexcept {
  if (kind != other.kind || axis != other.axis || values.size() != other.values.size()) return false;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].scale != other.values[i].scale || values[i].offset != other.values[i].offset) return false;
  }
  return true;
}

StaticData::StaticData(std::span<const std::byte> bytes) : raw_(bytes.size()), has_raw_(true) {
  if (!bytes.empty()) std::memcpy(raw_.data(), bytes.data(), bytes.size());
}

void StaticData::drop_raw() noexcept {
  raw_ = AlignedBuffer();
  has_raw_ = false;
}

const std::byte* StaticData::packed(kernels::GemmLayout layout, bool transposed, uint32_t outputs, uint32_t depth, bool flipped, Runner& runner) {
  for (const Packed& one : packed_) {
    if (one.layout == layout && one.transposed == transposed && one.outputs == outputs && one.depth == depth) return one.data.data();
  }
  if (!has_raw_) throw Failure(abi::kGraphFinalizeFailed, "a constant weight is used in two different forms, the second after its data was packed for the first");
  Packed made{layout, transposed, outputs, depth, AlignedBuffer(kernels::gemm_packed_size(layout, outputs, depth))};
  const size_t output_stride = transposed ? 1 : depth, depth_stride = transposed ? outputs : 1;
  AlignedBuffer shifted;
  const std::byte* codes = raw_.data();
  if (flipped) {
    shifted = AlignedBuffer(raw_.size());
    for (size_t i = 0; i < raw_.size(); ++i) shifted.data()[i] = raw_.data()[i] ^ std::byte{0x80};
    codes = shifted.data();
  }
  runner.run(kernels::gemm_panels(outputs), [&](uint32_t panel) {
    kernels::gemm_pack(layout, codes, output_stride, depth_stride, outputs, depth, panel, panel + 1, made.data.data());
  });
  packed_.push_back(std::move(made));
  return packed_.back().data.data();
}

uint64_t TensorInfo::elements() const noexcept {
  uint64_t count = 1;
  for (const uint32_t dim : dims) count *= dim;
  return count;
}

std::string TensorInfo::describe() const {
  std::string text = name + ": " + data_type_name(dtype) + " [";
  for (size_t i = 0; i < dims.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(dims[i]);
  return text + "]";
}

void check_tensor(const TensorInfo& info) {
  if (data_type_size(info.dtype) == 0) bad(abi::kTensorUnsupportedParam, info.name, "has a data type that the host NPU does not keep");
  if (info.dims.empty() || info.dims.size() > kMaxRank) bad(abi::kTensorInvalidParam, info.name, "has rank " + std::to_string(info.dims.size()));
  uint64_t bytes = data_type_size(info.dtype);
  for (const uint32_t dim : info.dims) {
    if (dim == 0) bad(abi::kTensorInvalidParam, info.name, "has a dimension of length 0");
    bytes *= dim;
    if (bytes >= kMaxBytes) bad(abi::kTensorInvalidParam, info.name, "is larger than 4 GiB");
  }
  const Quantization& q = info.quantization;
  for (const kernels::Affine& one : q.values) {
    if (!std::isfinite(one.scale) || one.scale < 0.0f) bad(abi::kTensorInvalidParam, info.name, "has a scale that is negative or not finite");
    if (one.offset < -kMaxOffset || one.offset > kMaxOffset) bad(abi::kTensorInvalidParam, info.name, "has the offset " + std::to_string(one.offset));
  }
  if (q.kind == Quantization::Kind::kPerTensor && q.values.size() != 1) bad(abi::kTensorInvalidParam, info.name, "has not one scale");
  if (q.kind == Quantization::Kind::kAxis) {
    const bool in_range = q.axis >= 0 && static_cast<size_t>(q.axis) < info.dims.size();
    if (!in_range || q.values.size() != info.dims[static_cast<size_t>(q.axis)]) {
      bad(abi::kTensorInvalidParam, info.name, "has " + std::to_string(q.values.size()) + " scales on axis " + std::to_string(q.axis) + ", which do not fit its shape");
    }
  }
}

TensorInfo parse_tensor(const abi::Tensor& tensor) {
  if (tensor.version != 1 && tensor.version != 2) throw Failure(abi::kTensorInvalidParam, "a tensor structure has version " + std::to_string(tensor.version));
  const abi::TensorV1& from = tensor.v1;
  TensorInfo info;
  info.id = from.id;
  info.type = from.type;
  info.dtype = from.dtype;
  if (from.type == abi::TensorType::kNull) return info;
  info.name = parse_name(from.name);
  if (from.type > abi::TensorType::kStatic || from.type == abi::TensorType::kAppReadWrite) {
    bad(abi::kTensorUnsupportedParam, info.name, "has type " + std::to_string(static_cast<uint32_t>(from.type)) + ", only APP_WRITE, APP_READ, NATIVE and STATIC are supported");
  }
  if (from.format != abi::DataFormat::kDense) bad(abi::kTensorUnsupportedParam, info.name, "is not dense");
  if (from.rank == 0 || from.rank > kMaxRank || from.dims == nullptr) bad(abi::kTensorInvalidParam, info.name, "has rank " + std::to_string(from.rank));
  info.dims.assign(from.dims, from.dims + from.rank);
  for (uint32_t i = 0; i < from.rank && tensor.version == 2 && tensor.v2.is_dynamic_dims != nullptr; ++i) {
    if (tensor.v2.is_dynamic_dims[i] != 0) bad(abi::kTensorUnsupportedParam, info.name, "has dimensions that are not static");
  }
  check_tensor(info);  // the shape, which says how many scales there are to read
  info.quantization = parse_quantization(from.quantize, info);
  check_tensor(info);
  return info;
}

std::span<const std::byte> static_bytes(const abi::Tensor& tensor, const TensorInfo& info) {
  const abi::TensorV1& from = tensor.v1;
  if (from.mem_type != abi::TensorMemType::kRaw) bad(abi::kMemUnsupportedType, info.name, "is constant but its data is not in a plain buffer");
  if (from.client.data == nullptr || from.client.size != info.bytes()) {
    bad(abi::kTensorInvalidParam, info.name, "needs " + std::to_string(info.bytes()) + " bytes of data but has " +
                                                 std::to_string(from.client.data == nullptr ? 0 : from.client.size));
  }
  return {static_cast<const std::byte*>(from.client.data), from.client.size};
}

}  // namespace lutra::hostnpu
