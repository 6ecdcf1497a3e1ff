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
