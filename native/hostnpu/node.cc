#include "hostnpu/node.h"

#include <algorithm>
#include <bit>

namespace lutra::hostnpu {

const Param* Node::param(std::string_view wanted) const noexcept {
  for (const Param& one : params) {
    if (one.name == wanted) return &one;
  }
  return nullptr;
}

void refuse(const std::string& why) { throw Failure(abi::kOpPackageValidationFailure, why); }

void expect_arity(const Node& node, size_t least, size_t most, size_t outputs) {
  if (node.outputs.size() != outputs) refuse("it has " + std::to_string(node.outputs.size()) + " outputs, not " + std::to_string(outputs));
  if (node.inputs.size() < least || node.inputs.size() > most) refuse("it has " + std::to_string(node.inputs.size()) + " inputs");
  for (size_t i = 0; i < least; ++i) {
    if (node.inputs[i] == nullptr) refuse("input " + std::to_string(i) + " is left out");
  }
}

void expect_params(const Node& node, std::initializer_list<std::string_view> known) {
  for (const Param& one : node.params) {
    if (std::find(known.begin(), known.end(), one.name) == known.end()) refuse("parameter '" + one.name + "' is not known");
  }
}

kernels::Element computed_element(const TensorInfo& tensor) {
  const auto element = element_of(tensor.dtype);
  if (!element) refuse("'" + tensor.name + "' is " + data_type_name(tensor.dtype));
  if (kernels::is_quantized(*element)) {
    if (tensor.quantization.kind != Quantization::Kind::kPerTensor) refuse("'" + tensor.name + "' has no scale and offset of the whole tensor");
    if (!(tensor.quantization.values[0].scale > 0.0f)) refuse("'" + tensor.name + "' has the scale 0");
  }
  return *element;
}

TypeSet type_of(const TensorInfo& tensor) noexcept {
  switch (tensor.dtype) {
    case abi::DataType::kFloat32: return kTypeF32;
    case abi::DataType::kFloat16: return kTypeF16;
    case abi::DataType::kUfixed8: return kTypeU8;
    case abi::DataType::kSfixed8: return kTypeS8;
    case abi::DataType::kUfixed16: return kTypeU16;
    case abi::DataType::kSfixed16: return kTypeS16;
    case abi::DataType::kInt32: return kTypeI32;
    case abi::DataType::kUint32: return kTypeU32;
    case abi::DataType::kBool8: return kTypeBool;
    case abi::DataType::kInt64: return kTypeI64;
    case abi::DataType::kUint8: return kTypePlainU8;
    case abi::DataType::kInt8: return kTypePlainI8;
    default: return 0;
  }
}

void expect_type(const TensorInfo& tensor, TypeSet types) {
  if ((type_of(tensor) & types) == 0) refuse("'" + tensor.name + "' is " + data_type_name(tensor.dtype));
  if (element_of(tensor.dtype)) computed_element(tensor);
}

void expect_same_values(const TensorInfo& a, const TensorInfo& b) {
  if (a.dtype != b.dtype) refuse("'" + a.name + "' and '" + b.name + "' have different types");
  if (!(a.quantization == b.quantization)) refuse("'" + a.name + "' and '" + b.name + "' have different encodings");
}

void expect_dims(const TensorInfo& tensor, std::span<const uint32_t> dims) {
  if (std::equal(dims.begin(), dims.end(), tensor.dims.begin(), tensor.dims.end())) return;
  std::string wanted;
  for (const uint32_t dim : dims) wanted += (wanted.empty() ? "" : ", ") + std::to_string(dim);
  refuse("'" + tensor.name + "' is not [" + wanted + "]");
}

void expect_same_shape(const TensorInfo& a, const TensorInfo& b) {
  if (a.dims != b.dims) refuse("'" + a.name + "' and '" + b.name + "' have different shapes");
}

bool bool_param(const Node& node, std::string_view name, bool fallback) {
  const Param* param = node.param(name);
  if (param == nullptr) return fallback;
  if (param->is_tensor || param->dtype != abi::DataType::kBool8) refuse("parameter '" + param->name + "' is not a BOOL8 scalar");
  return (param->bits & 0xff) != 0;
}

float float_param(const Node& node, std::string_view name, float fallback) {
  const Param* param = node.param(name);
  if (param == nullptr) return fallback;
  if (param->is_tensor || param->dtype != abi::DataType::kFloat32) refuse("parameter '" + param->name + "' is not an F32 scalar");
  return std::bit_cast<float>(static_cast<uint32_t>(param->bits));
}

int64_t integer_param(const Node& node, std::string_view name, int64_t fallback) {
  const Param* param = node.param(name);
  if (param == nullptr) return fallback;
  const auto word = static_cast<uint32_t>(param->bits);
  if (!param->is_tensor && param->dtype == abi::DataType::kInt32) return static_cast<int32_t>(word);
  if (!param->is_tensor && param->dtype == abi::DataType::kUint32) return word;
  refuse("parameter '" + param->name + "' is not an INT32 or UINT32 scalar");
}

const Param& required_param(const Node& node, std::string_view name) {
  const Param* param = node.param(name);
  if (param == nullptr) refuse("parameter '" + std::string(name) + "' is missing");
  return *param;
}

size_t axis_param(const Node& node, std::string_view name, size_t rank, int64_t fallback) {
  int64_t axis = integer_param(node, name, fallback);
  if (axis < 0) axis += static_cast<int64_t>(rank);
  if (axis < 0 || axis >= static_cast<int64_t>(rank)) refuse("the " + std::string(name) + " is out of range");
  return static_cast<size_t>(axis);
}

std::span<const uint32_t> words_param(const Node& node, std::string_view name, size_t rank) {
  const Param& param = required_param(node, name);
  if (!param.is_tensor || (param.dtype != abi::DataType::kUint32 && param.dtype != abi::DataType::kInt32)) refuse("parameter '" + param.name + "' is not a tensor of UINT32 or INT32");
  if (param.dims.size() != rank) refuse("parameter '" + param.name + "' has rank " + std::to_string(param.dims.size()));
  if (param.words.empty()) refuse("parameter '" + param.name + "' has no data");
  return param.words;
}

void expect_filled_param(const Node& node, std::string_view name, size_t count, uint32_t value) {
  const Param* param = node.param(name);
  if (param == nullptr) return;
  if (!param->is_tensor || param->dtype != abi::DataType::kUint32) refuse("parameter '" + param->name + "' is not a UINT32 tensor");
  size_t elements = 1;
  for (const uint32_t dim : param->dims) elements *= dim;
  if (elements != count) refuse("parameter '" + param->name + "' has " + std::to_string(elements) + " elements, not " + std::to_string(count));
  for (const uint32_t word : param->words) {
    if (word != value) refuse("parameter '" + param->name + "' has the value " + std::to_string(word) + ", only " + std::to_string(value) + " is supported");
  }
}

uint32_t rows_of(const TensorInfo& tensor) noexcept { return static_cast<uint32_t>(tensor.elements() / tensor.last_dim()); }

}  // namespace lutra::hostnpu
