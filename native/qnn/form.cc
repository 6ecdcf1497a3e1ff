#include "qnn/form.h"

#include <algorithm>
#include <cctype>
#include <vector>

namespace lutra::qnn {
namespace {

using DT = abi::DataType;

struct View {
  const NodeDesc& node;
  std::span<const abi::Tensor> inputs, outputs;

  bool is(std::string_view type) const { return node.type == type; }
  DT dtype(size_t input) const { return inputs[input].v1.dtype; }
  bool has_input(size_t i) const { return i < inputs.size() && inputs[i].v1.type != abi::TensorType::kNull; }

  /// Value of a parameter of type T; NULL when there is none of that name and type.
  template <class T>
  const T* param(std::string_view name) const {
    const auto found = std::find_if(node.params.begin(), node.params.end(), [name](const ParamDesc& param) { return param.name == name; });
    return found == node.params.end() ? nullptr : std::get_if<T>(&found->value);
  }
  bool has_u32(std::string_view name, uint32_t value) const {
    const auto* given = param<uint32_t>(name);
    return given != nullptr && *given == value;
  }
  /// Elements of a tensor parameter; empty when there are not `count`.
  std::span<const uint32_t> words(std::string_view name, size_t count) const {
    const auto* given = param<TensorParam>(name);
    return given != nullptr && given->values.size() == count ? std::span<const uint32_t>(given->values) : std::span<const uint32_t>();
  }
};

std::span<const uint32_t> dims_of(const abi::Tensor& tensor) { return {tensor.v1.dims, tensor.v1.rank}; }

bool has_one_scale(const abi::Tensor& tensor) {
  const abi::QuantizeParams& q = tensor.v1.quantize;
  return q.definition == abi::QuantizeDefinition::kDefined && q.encoding == abi::QuantizeEncoding::kScaleOffset;
}

/// Whether the zero of a quantised tensor is elsewhere than in the middle of its range.
bool off_centre(const abi::Tensor& tensor) {
  if (!has_one_scale(tensor)) return false;
  const int32_t offset = tensor.v1.quantize.scale_offset.offset;
  switch (tensor.v1.dtype) {
    case DT::kUfixed8: return offset != -128;
    case DT::kUfixed16: return offset != -32768;
    default: return offset != 0;
  }
}

bool is_float(DT dtype) { return dtype == DT::kFloat16 || dtype == DT::kFloat32; }
bool is_16_bit(DT dtype) { return dtype == DT::kUfixed16 || dtype == DT::kSfixed16; }

// ------------------------------------------------------------------------------------------------------------- conditions
// Each is about nodes with at least one input and one output.

bool has_channel_scales(const abi::Tensor& tensor) {
  const abi::QuantizeParams& q = tensor.v1.quantize;
  if (tensor.v1.type != abi::TensorType::kStatic || q.definition != abi::QuantizeDefinition::kDefined) return false;
  return q.encoding == abi::QuantizeEncoding::kAxisScaleOffset || q.encoding == abi::QuantizeEncoding::kBwAxisScaleOffset;
}

bool unsaid_transpose(const View& v) {
  if (!v.is("MatMul") || !v.has_input(1) || is_float(v.dtype(0)) || !has_channel_scales(v.inputs[1])) return false;
  return std::none_of(v.node.params.begin(), v.node.params.end(), [](const ParamDesc& param) { return param.name == "transpose_in1"; });
}

bool fixed_point_bias(const View& v) { return v.is("MatMul") && v.has_input(2) && !is_float(v.dtype(0)); }

bool several_matrices(const View& v) {
  if (!v.is("MatMul") || !v.has_input(1) || v.dtype(0) != DT::kUfixed8 || v.dtype(1) != DT::kSfixed8 || v.inputs[1].v1.type == abi::TensorType::kStatic) return false;
  const auto dims = dims_of(v.inputs[0]);
  return dims.size() > 2 && std::any_of(dims.begin(), dims.end() - 2, [](uint32_t length) { return length > 1; });
}

bool off_centre_weight(const View& v) {
  const bool product = v.is("FullyConnected") || v.is("Conv2d") || v.is("DepthWiseConv2d") || v.is("MatMul");
  return product && v.has_input(1) && is_16_bit(v.dtype(0)) && off_centre(v.inputs[1]);
}

bool two_bit_weight(const View& v) {
  if (!v.is("FullyConnected") || !v.has_input(1) || !is_16_bit(v.dtype(0))) return false;
  const abi::QuantizeParams& q = v.inputs[1].v1.quantize;
  return q.definition == abi::QuantizeDefinition::kDefined && q.encoding == abi::QuantizeEncoding::kBwAxisScaleOffset && q.bw_axis.bitwidth == 2;
}

bool uneven_input(const View& v) {
  if ((!v.is("FullyConnected") && !v.is("Conv2d")) || !v.has_input(1) || v.dtype(0) != DT::kFloat16 || is_float(v.dtype(1))) return false;
  const auto x = dims_of(v.inputs[0]), y = dims_of(v.outputs[0]);
  return !x.empty() && !y.empty() && x.back() % 4 != 0 && y.back() > 32;
}

bool long_leading_rows(const View& v) {
  if (!v.is("RmsNorm") || is_16_bit(v.dtype(0))) return false;
  const auto dims = dims_of(v.inputs[0]);
  return dims.size() > 2 && std::any_of(dims.begin(), dims.end() - 2, [](uint32_t length) { return length > 8; });
}

bool computed_indices(const View& v) {
  return v.is("Gather") && v.has_input(1) && v.dtype(0) == DT::kSfixed8 && v.inputs[0].v1.type != abi::TensorType::kStatic && v.inputs[1].v1.type != abi::TensorType::kStatic;
}

bool foreign_softmax_offset(const View& v) {
  if (!v.is("Softmax") || !has_one_scale(v.outputs[0])) return false;
  const int32_t offset = v.outputs[0].v1.quantize.scale_offset.offset;
  const DT dtype = v.outputs[0].v1.dtype;
  return (dtype == DT::kUfixed8 && offset != 0) || (dtype == DT::kSfixed8 && offset != 128);
}

/// A Cast takes stored numbers as they are; where only one side has a scale, Qualcomm's runtime applies it to some types.
bool scaled_cast(const View& v) {
  if (!v.is("Cast")) return false;
  const abi::Tensor &from = v.inputs[0], &to = v.outputs[0];
  const auto scaled = [](const abi::Tensor& tensor) { return has_one_scale(tensor) && tensor.v1.quantize.scale_offset.scale != 1.0f; };
  if (has_one_scale(from) && has_one_scale(to)) return false;
  return (from.v1.dtype == DT::kSfixed8 && scaled(from)) || (is_float(from.v1.dtype) && (to.v1.dtype == DT::kSfixed8 || to.v1.dtype == DT::kUfixed16) && scaled(to));
}

bool sums_across_rows(const View& v) {
  const auto* axis = v.param<uint32_t>("axis");
  return v.is("CumulativeSum") && v.dtype(0) == DT::kUfixed8 && axis != nullptr && *axis + 1 < v.inputs[0].v1.rank;
}

constexpr uint32_t kPadConstant = 0, kPadEdge = 3;

template <DT D>
bool padded_last_of_four(const View& v) {
  if (!v.is("Pad") || !v.has_u32("scheme", kPadConstant) || v.inputs[0].v1.rank != 4 || v.dtype(0) != D) return false;
  const auto amounts = v.words("pad_amount", 8);
  return !amounts.empty() && (amounts[6] != 0 || amounts[7] != 0);
}

bool float_edge(const View& v) { return v.is("Pad") && v.has_u32("scheme", kPadEdge) && is_float(v.dtype(0)); }

bool float_windows(const View& v) { return v.is("PoolAvg2d") && is_float(v.dtype(0)) && v.inputs[0].v1.rank == 4; }

bool windows_stand_out(const View& v) {
  if (!float_windows(v) || !v.has_u32("rounding_mode", 1)) return false;
  const auto filter = v.words("filter_size", 2), stride = v.words("stride", 2), pad = v.words("pad_amount", 4);
  if (filter.empty() || stride.empty() || pad.empty()) return false;
  const auto stands_out = [&](size_t i) {
    const uint64_t length = uint64_t{v.inputs[0].v1.dims[1 + i]} + pad[2 * i] + pad[2 * i + 1];
    return stride[i] != 0 && length >= filter[i] && (length - filter[i]) % stride[i] != 0;
  };
  return stands_out(0) || stands_out(1);
}

bool counted_padding_of_one_channel(const View& v) {
  const auto* counts = v.param<bool>("count_pad_for_edges");
  return float_windows(v) && counts != nullptr && *counts && v.inputs[0].v1.dims[3] == 1;
}

/// A beta of zeros, which the op's form wants, is no beta.
bool float_beta(const View& v) {
  if (!v.is("RmsNorm") || !v.has_input(2) || !is_float(v.dtype(0))) return false;
  const abi::TensorV1& beta = v.inputs[2].v1;
  if (beta.type != abi::TensorType::kStatic || beta.client.data == nullptr) return true;
  const std::span bytes(static_cast<const std::byte*>(beta.client.data), beta.client.size);
  return std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; });
}

struct Condition {
  const char* name;
  bool (*holds)(const View& view);
};

constexpr Condition kConditions[] = {
    {"constant right side with a scale per channel, without the parameter transpose_in1", &unsaid_transpose},
    {"fixed-point bias", &fixed_point_bias},
    {"several matrices of U8 by computed S8", &several_matrices},
    {"16-bit activations by a zero point off the centre", &off_centre_weight},
    {"16-bit activations by 2-bit weights", &two_bit_weight},
    {"F16 input length no multiple of 4, more than 32 outputs", &uneven_input},
    {"more than 8 rows in a dimension before the last of rows", &long_leading_rows},
    {"S8 by computed indices", &computed_indices},
    {"output range does not begin at 0", &foreign_softmax_offset},
    {"a scale other than 1 on one side", &scaled_cast},
    {"U8 along another axis than the last", &sums_across_rows},
    {"constant border of the last of 4 dimensions of F32", &padded_last_of_four<DT::kFloat32>},
    {"constant border of the last of 4 dimensions of S8", &padded_last_of_four<DT::kSfixed8>},
    {"edge of floats", &float_edge},
    {"windows of floats that stand out of the image", &windows_stand_out},
    {"floats, padding counts, one channel", &counted_padding_of_one_channel},
    {"floats with a beta that is not 0", &float_beta},
};

// ------------------------------------------------------------------------------------------------------------------- text

std::string encoding_text(const abi::QuantizeParams& q) {
  if (q.definition != abi::QuantizeDefinition::kDefined) return "";
  switch (q.encoding) {
    case abi::QuantizeEncoding::kScaleOffset: return "";
    case abi::QuantizeEncoding::kAxisScaleOffset: return " axis";
    case abi::QuantizeEncoding::kBwScaleOffset: return " " + std::to_string(q.bw_scale_offset.bitwidth) + " bits";
    case abi::QuantizeEncoding::kBwAxisScaleOffset: return " " + std::to_string(q.bw_axis.bitwidth) + " bits axis";
    case abi::QuantizeEncoding::kBlockwiseExpansion: return " blockwise";
    default: return " encoding " + std::to_string(static_cast<int32_t>(q.encoding));
  }
}

std::string tensor_text(const abi::Tensor& tensor) {
  if (tensor.v1.type == abi::TensorType::kNull) return "none";
  std::string text = dtype_name(tensor.v1.dtype);
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (tensor.v1.type == abi::TensorType::kStatic) text += " constant";
  return text + encoding_text(tensor.v1.quantize);
}

/// `distinct`: every kind once, for ops with any number of tensors.
std::string list_text(std::span<const abi::Tensor> tensors, bool distinct) {
  std::vector<std::string> parts;
  for (const abi::Tensor& tensor : tensors) {
    std::string part = tensor_text(tensor);
    if (!distinct || std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(std::move(part));
  }
  std::string text;
  for (const std::string& part : parts) text.append(text.empty() ? "" : ", ").append(part);
  return text;
}

std::string operation_text(const NodeDesc& node) {
  for (const ParamDesc& param : node.params) {
    const auto* value = std::get_if<uint32_t>(&param.value);
    if (param.name == "operation" && value != nullptr) return " " + std::to_string(*value);
  }
  return "";
}

}  // namespace

std::string form_of(const NodeDesc& node, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs) {
  const View view{node, inputs, outputs};
  if (view.has_input(0) && !outputs.empty()) {
    const auto found = std::find_if(std::begin(kConditions), std::end(kConditions), [&view](const Condition& condition) { return condition.holds(view); });
    if (found != std::end(kConditions)) return node.type + " [" + found->name + "]";
  }
  return node.type + operation_text(node) + "(" + list_text(inputs, view.is("Concat") || view.is("Pack")) + ") -> " + list_text(outputs, true);
}

std::string form_of(const NodeDesc& node, std::span<const TensorRecord* const> inputs, std::span<const TensorRecord* const> outputs) {
  const auto forms = [](std::span<const TensorRecord* const> records) {
    std::vector<abi::Tensor> out;
    for (const TensorRecord* record : records) out.push_back(record->qnn());
    return out;
  };
  return form_of(node, forms(inputs), forms(outputs));
}

}  // namespace lutra::qnn
