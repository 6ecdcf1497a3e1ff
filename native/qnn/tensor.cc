#include "qnn/tensor.h"

#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"

namespace lutra::qnn {
namespace {

struct TypeInfo {
  abi::DataType dtype;
  const char* name;
  size_t bytes;  // 0: several elements share a byte
};

constexpr TypeInfo kTypes[] = {
    {abi::DataType::kInt8, "INT8", 1},      {abi::DataType::kInt16, "INT16", 2},   {abi::DataType::kInt32, "INT32", 4},
    {abi::DataType::kInt64, "INT64", 8},    {abi::DataType::kUint8, "UINT8", 1},   {abi::DataType::kUint16, "UINT16", 2},
    {abi::DataType::kUint32, "UINT32", 4},  {abi::DataType::kUint64, "UINT64", 8}, {abi::DataType::kFloat16, "F16", 2},
    {abi::DataType::kFloat32, "F32", 4},    {abi::DataType::kFloat64, "F64", 8},   {abi::DataType::kSfixed4, "S4", 0},
    {abi::DataType::kSfixed8, "S8", 1},     {abi::DataType::kSfixed16, "S16", 2},  {abi::DataType::kSfixed32, "S32", 4},
    {abi::DataType::kUfixed4, "U4", 0},     {abi::DataType::kUfixed8, "U8", 1},    {abi::DataType::kUfixed16, "U16", 2},
    {abi::DataType::kUfixed32, "U32", 4},   {abi::DataType::kBool8, "BOOL8", 1},
};

const TypeInfo* find_type(abi::DataType dtype) noexcept {
  for (const TypeInfo& info : kTypes) {
    if (info.dtype == dtype) return &info;
  }
  return nullptr;
}

std::string number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.6g", value);
  return buffer;
}

std::string describe_encoding(const abi::QuantizeParams& q) {
  if (q.definition != abi::QuantizeDefinition::kDefined) return "";
  switch (q.encoding) {
    case abi::QuantizeEncoding::kScaleOffset:
      return " scale " + number(q.scale_offset.scale) + " offset " + std::to_string(q.scale_offset.offset);
    case abi::QuantizeEncoding::kAxisScaleOffset: return " " + std::to_string(q.axis.count) + " scales on axis " + std::to_string(q.axis.axis);
    case abi::QuantizeEncoding::kBwScaleOffset:
      return " " + std::to_string(q.bw_scale_offset.bitwidth) + " bits scale " + number(q.bw_scale_offset.scale) + " offset " + std::to_string(q.bw_scale_offset.offset);
    case abi::QuantizeEncoding::kBwAxisScaleOffset:
      return " " + std::to_string(q.bw_axis.bitwidth) + " bits, " + std::to_string(q.bw_axis.count) + " scales on axis " + std::to_string(q.bw_axis.axis);
    case abi::QuantizeEncoding::kBlockwiseExpansion:
      return " " + std::to_string(q.blockwise_expansion->blocks_per_axis) + " blocks per index of axis " + std::to_string(q.blockwise_expansion->axis);
    default: return " encoding " + std::to_string(static_cast<int32_t>(q.encoding));
  }
}

[[noreturn]] void bad(const std::string& name, const std::string& what) { throw Error(ErrorCode::kInvalidArgument, "tensor '" + name + "' " + what); }

}  // namespace

size_t element_size(abi::DataType dtype) {
  const TypeInfo* info = find_type(dtype);
  if (info == nullptr || info->bytes == 0) throw Error(ErrorCode::kUnsupported, "tensors of type " + dtype_name(dtype) + " are not supported");
  return info->bytes;
}

std::string dtype_name(abi::DataType dtype) {
  if (const TypeInfo* info = find_type(dtype)) return info->name;
  char buffer[16];
  std::snprintf(buffer, sizeof buffer, "0x%04x", static_cast<unsigned>(dtype));
  return buffer;
}

std::string describe(const abi::Tensor& tensor) {
  const abi::TensorV1& t = tensor.v1;
  std::string text = std::string(t.name == nullptr ? "?" : t.name) + ": " + dtype_name(t.dtype) + " [";
  for (uint32_t i = 0; i < t.rank; ++i) text += (i == 0 ? "" : ", ") + std::to_string(t.dims[i]);
  return text + "]" + describe_encoding(t.quantize);
}

TensorRecord::TensorRecord(const TensorDesc& desc, abi::TensorType type) : name_(desc.name), dims_(desc.dims) {
  if (name_.empty()) throw Error(ErrorCode::kInvalidArgument, "a tensor has no name");
  if (dims_.empty()) bad(name_, "has no dimensions");
  bytes_ = element_size(desc.dtype);
  for (const uint32_t dim : dims_) {
    if (dim == 0) bad(name_, "has a dimension of length 0");
    // Sizes are 32 bits wide in the interface.
    if (bytes_ > std::numeric_limits<uint32_t>::max() / dim) bad(name_, "is larger than 4 GiB");
    bytes_ *= dim;
  }
  const bool is_static = type == abi::TensorType::kStatic;
  if (!is_static && !desc.data.empty()) bad(name_, "is not a constant but has data");
  if (is_static && desc.data.size() != bytes_) {
    bad(name_, "needs " + std::to_string(bytes_) + " bytes of data but has " + std::to_string(desc.data.size()));
  }
  tensor_.version = 1;
  abi::TensorV1& t = tensor_.v1;
  t.name = name_.c_str();
  t.type = type;
  t.format = abi::DataFormat::kDense;
  t.dtype = desc.dtype;
  t.rank = static_cast<uint32_t>(dims_.size());
  t.dims = dims_.data();
  t.mem_type = abi::TensorMemType::kRaw;
  // The interface takes one struct for data that is read and data that is written; constants are only read.
  if (is_static) t.client = {const_cast<std::byte*>(desc.data.data()), static_cast<uint32_t>(desc.data.size())};
  set_encoding(desc.encoding);
}

void TensorRecord::check_axis(const Encoding& encoding) const {
  if (encoding.axis < 0 || static_cast<size_t>(encoding.axis) >= dims_.size()) {
    bad(name_, "has scales on axis " + std::to_string(encoding.axis) + " but only " + std::to_string(dims_.size()) + " dimensions");
  }
  const uint32_t length = dims_[static_cast<size_t>(encoding.axis)];
  if (encoding.scales.size() != length) {
    bad(name_, "needs " + std::to_string(length) + " scales on axis " + std::to_string(encoding.axis) + " but has " + std::to_string(encoding.scales.size()));
  }
  if (!encoding.offsets.empty() && encoding.offsets.size() != length) {
    bad(name_, "needs " + std::to_string(length) + " offsets or none but has " + std::to_string(encoding.offsets.size()));
  }
  for (const float scale : encoding.scales) {
    if (!std::isfinite(scale)) bad(name_, "has a scale that is not finite");
  }
}

void TensorRecord::set_encoding(const Encoding& encoding) {
  using Kind = Encoding::Kind;
  abi::QuantizeParams& q = tensor_.v1.quantize;
  q.definition = abi::QuantizeDefinition::kUndefined;
  q.encoding = abi::QuantizeEncoding::kUndefined;
  if (encoding.kind == Kind::kNone) return;
  q.definition = abi::QuantizeDefinition::kDefined;
  if (encoding.kind == Kind::kScaleOffset || encoding.kind == Kind::kBwScaleOffset) {
    if (!std::isfinite(encoding.scale)) bad(name_, "has a scale that is not finite");
    if (encoding.kind == Kind::kScaleOffset) {
      q.encoding = abi::QuantizeEncoding::kScaleOffset;
      q.scale_offset = {encoding.scale, encoding.offset};
    } else {
      q.encoding = abi::QuantizeEncoding::kBwScaleOffset;
      q.bw_scale_offset = {encoding.bits, encoding.scale, encoding.offset};
    }
    return;
  }
  check_axis(encoding);
  const auto length = static_cast<uint32_t>(encoding.scales.size());
  axis_offsets_ = encoding.offsets;
  axis_offsets_.resize(length);  // an explicit zero per scale: some releases read the list without a look whether it is there
  if (encoding.kind == Kind::kBwAxis) {
    axis_scales_ = encoding.scales;
    q.encoding = abi::QuantizeEncoding::kBwAxisScaleOffset;
    q.bw_axis = {encoding.bits, encoding.axis, length, axis_scales_.data(), axis_offsets_.data()};
    return;
  }
  scales_.reserve(length);
  for (uint32_t i = 0; i < length; ++i) scales_.push_back({encoding.scales[i], axis_offsets_[i]});
  if (encoding.kind == Kind::kAxis) {
    q.encoding = abi::QuantizeEncoding::kAxisScaleOffset;
    q.axis = {encoding.axis, length, scales_.data()};
    return;
  }
  const size_t block_count = size_t{length} * encoding.blocks;
  if (encoding.blocks == 0 || encoding.block_scales.size() != block_count) {
    bad(name_, "needs " + std::to_string(block_count) + " block scales, at least one per index of its axis, but has " + std::to_string(encoding.block_scales.size()));
  }
  block_scales_ = encoding.block_scales;
  blockwise_ = {encoding.axis, scales_.data(), encoding.blocks, encoding.bits, 0, block_scales_.data()};
  q.encoding = abi::QuantizeEncoding::kBlockwiseExpansion;
  q.blockwise_expansion = &blockwise_;
}

}  // namespace lutra::qnn
