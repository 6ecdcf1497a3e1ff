#include "hostnpu/encoding.h"

#include <cstring>

namespace lutra::hostnpu {
namespace {

[[noreturn]] void bad(const TensorInfo& info, const std::string& what) { throw Failure(abi::kTensorInvalidParam, "tensor '" + info.name + "' " + what); }
[[noreturn]] void unsupported(const TensorInfo& info, const std::string& what) { throw Failure(abi::kTensorUnsupportedParam, "tensor '" + info.name + "' " + what); }

void require_narrow(const TensorInfo& info, uint32_t bits) {
  if (info.dtype != abi::DataType::kSfixed8) unsupported(info, "has a bit width but is not of S8 containers");
  if (bits == 0 || bits > 8) unsupported(info, "has a bit width of " + std::to_string(bits));
  if (!info.is_static()) unsupported(info, "has a bit width but is not constant");
}

Quantization parse_bw_axis(const abi::BwAxisScaleOffset& from, const TensorInfo& info) {
  require_narrow(info, from.bitwidth);
  if (from.scales == nullptr) bad(info, "has a BW_AXIS encoding without scales");
  Quantization out;
  out.kind = Quantization::Kind::kAxis;
  out.axis = from.axis;
  for (uint32_t i = 0; i < from.count; ++i) out.values.push_back({from.scales[i], from.offsets == nullptr ? 0 : from.offsets[i]});
  return out;
}

/// The dimension that blocks run along: the inputs of a weight [outputs, inputs] or [.., inputs, outputs].
size_t block_dimension(const TensorInfo& info, size_t axis) { return axis + 1 == info.dims.size() ? axis - 1 : axis + 1; }

Quantization parse_blockwise(const abi::BlockwiseExpansion* from, const TensorInfo& info) {
  if (from == nullptr || from->scale_offsets == nullptr || from->block_scales == nullptr) bad(info, "has a BLOCKWISE_EXPANSION encoding without scales");
  require_narrow(info, from->block_scale_bitwidth);
  if (from->block_scale_storage != 0) unsupported(info, "has block scales of 16 bits");
  if (info.dims.size() < 2 || from->axis < 0 || static_cast<size_t>(from->axis) >= info.dims.size()) bad(info, "has block scales on an axis that it does not have");
  const auto axis = static_cast<size_t>(from->axis);
  if (from->blocks_per_axis == 0 || info.dims[block_dimension(info, axis)] % from->blocks_per_axis != 0) bad(info, "does not divide into its blocks");
  Quantization out;
  out.kind = Quantization::Kind::kAxis;
  out.axis = from->axis;
  for (uint32_t i = 0; i < info.dims[axis]; ++i) out.values.push_back({from->scale_offsets[i].scale, from->scale_offsets[i].offset});
  return out;
}

void spread_sign(std::span<std::byte> codes, uint32_t bits) {
  const auto shift = static_cast<int>(8 - bits);
  for (std::byte& code : codes) code = static_cast<std::byte>(static_cast<int8_t>(static_cast<uint8_t>(static_cast<unsigned>(code) << shift)) >> shift);
}

void apply_block_scales(const abi::BlockwiseExpansion& from, const TensorInfo& info, std::span<std::byte> codes) {
  const auto axis = static_cast<size_t>(from.axis);
  const size_t along = block_dimension(info, axis), length = info.dims[along], block = length / from.blocks_per_axis;
  size_t axis_stride = 1, along_stride = 1;
  for (size_t i = info.dims.size(); i-- > axis + 1;) axis_stride *= info.dims[i];
  for (size_t i = info.dims.size(); i-- > along + 1;) along_stride *= info.dims[i];
  const auto* scales = static_cast<const uint8_t*>(from.block_scales);
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t channel = i / axis_stride % info.dims[axis], position = i / along_stride % length;
    const int value = static_cast<int8_t>(codes[i]) * scales[channel * from.blocks_per_axis + position / block];
    if (value < -128 || value > 127) unsupported(info, "has values that do not fit 8 bits with their block scales");
    codes[i] = static_cast<std::byte>(value);
  }
}

}  // namespace

Quantization parse_quantization(const abi::QuantizeParams& params, const TensorInfo& info) {
  Quantization out;
  if (params.definition != abi::QuantizeDefinition::kDefined) return out;
  switch (params.encoding) {
    case abi::QuantizeEncoding::kScaleOffset:
      out.kind = Quantization::Kind::kPerTensor;
      out.values.push_back({params.scale_offset.scale, params.scale_offset.offset});
      return out;
    case abi::QuantizeEncoding::kAxisScaleOffset:
      out.kind = Quantization::Kind::kAxis;
      out.axis = params.axis.axis;
      if (params.axis.scale_offset == nullptr) bad(info, "has an AXIS encoding without scales");
      out.values.reserve(params.axis.count);
      for (uint32_t i = 0; i < params.axis.count; ++i) out.values.push_back({params.axis.scale_offset[i].scale, params.axis.scale_offset[i].offset});
      return out;
    case abi::QuantizeEncoding::kBwScaleOffset:
      require_narrow(info, params.bw_scale_offset.bitwidth);
      out.kind = Quantization::Kind::kPerTensor;
      out.values.push_back({params.bw_scale_offset.scale, params.bw_scale_offset.offset});
      return out;
    case abi::QuantizeEncoding::kBwAxisScaleOffset: return parse_bw_axis(params.bw_axis, info);
    case abi::QuantizeEncoding::kBlockwiseExpansion: return parse_blockwise(params.blockwise_expansion, info);
    case abi::QuantizeEncoding::kUndefined: return out;
    default: out.kind = Quantization::Kind::kOther; return out;
  }
}

std::shared_ptr<StaticData> make_static(const abi::QuantizeParams& params, const TensorInfo& info, std::span<const std::byte> bytes) {
  if (params.definition != abi::QuantizeDefinition::kDefined) return std::make_shared<StaticData>(bytes);
  const bool blockwise = params.encoding == abi::QuantizeEncoding::kBlockwiseExpansion;
  const uint32_t bits = params.encoding == abi::QuantizeEncoding::kBwScaleOffset ? params.bw_scale_offset.bitwidth : params.encoding == abi::QuantizeEncoding::kBwAxisScaleOffset ? params.bw_axis.bitwidth : 8;
  if (!blockwise && bits == 8) return std::make_shared<StaticData>(bytes);
  std::vector<std::byte> codes(bytes.begin(), bytes.end());
  if (blockwise) {
    apply_block_scales(*params.blockwise_expansion, info, codes);
  } else {
    spread_sign(codes, bits);
  }
  return std::make_shared<StaticData>(codes);
}

}  // namespace lutra::hostnpu
