#include "conformance/spec.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

constexpr float kEpsilon = 1e-5f;

}  // namespace

size_t GraphSpec::add(Tensor tensor) {
  if (rounding_ == Rounding::kNone && is_quantized(tensor.dtype)) {
    const Limits range = limits(tensor.dtype);
    const double scale = tensor.encoding.scale, offset = tensor.encoding.offset;
    for (double& value : tensor.exact) value = std::clamp(value, (range.low + offset) * scale, (range.high + offset) * scale);
    tensor.dtype = DT::kFloat32;
    tensor.encoding = qnn::Encoding::none();
  }
  tensor.bytes = encode(tensor.dtype, tensor.encoding, tensor.exact);
  tensors_.push_back(std::move(tensor));
  return tensors_.size() - 1;
}

size_t GraphSpec::add_codes(Tensor tensor) {
  tensor.bytes = encode(tensor.dtype, qnn::Encoding::scale_offset(1, 0), tensor.exact);
  tensors_.push_back(std::move(tensor));
  return tensors_.size() - 1;
}

size_t GraphSpec::input(const std::string& name, Target target, Dims dims, std::span<const double> values) {
  return add({name, Role::kInput, target.dtype, std::move(dims), calibrate(target.dtype, target.fit, values, target.clipped), {values.begin(), values.end()}, {}});
}

size_t GraphSpec::input_like(size_t model, const std::string& name, Dims dims, std::span<const double> values) {
  return add({name, Role::kInput, tensors_[model].dtype, std::move(dims), tensors_[model].encoding, {values.begin(), values.end()}, {}});
}

size_t GraphSpec::coded_input(const std::string& name, DT dtype, Dims dims, qnn::Encoding encoding, std::span<const double> codes) {
  return add_codes({name, Role::kInput, dtype, std::move(dims), std::move(encoding), {codes.begin(), codes.end()}, {}});
}

size_t GraphSpec::constant(const std::string& name, DT dtype, Dims dims, std::span<const double> values) {
  return add({name, Role::kConstant, dtype, std::move(dims), {}, {values.begin(), values.end()}, {}});
}

size_t GraphSpec::constant(const std::string& name, Target target, Dims dims, std::span<const double> values) {
  return add({name, Role::kConstant, target.dtype, std::move(dims), calibrate(target.dtype, target.fit, values, target.clipped), {values.begin(), values.end()}, {}});
}

size_t GraphSpec::scaled_constant(const std::string& name, DT dtype, Dims dims, qnn::Encoding encoding, std::span<const double> values) {
  std::vector<double> codes;
  for (const double v : values) codes.push_back(std::nearbyint(v / double{encoding.scale}) - encoding.offset);
  return add_codes({name, Role::kConstant, dtype, std::move(dims), std::move(encoding), std::move(codes), {}});
}

namespace {

/// The index along `axis` of element `i`.
size_t along(const Dims& dims, size_t axis, size_t i) {
  size_t stride = 1;
  for (size_t d = axis + 1; d < dims.size(); ++d) stride *= dims[d];
  return i / stride % dims[axis];
}

}  // namespace

size_t GraphSpec::axis_constant(const std::string& name, Dims dims, size_t axis, std::span<const double> values, uint32_t bits) {
  const double limit = std::ldexp(1.0, static_cast<int>(bits) - 1) - (bits == 2 ? 0 : 1);
  std::vector<float> scales(dims[axis], 0);
  for (size_t i = 0; i < values.size(); ++i) {
    float& scale = scales[along(dims, axis, i)];
    scale = std::max(scale, static_cast<float>(std::abs(values[i]) / limit));
  }
  std::vector<double> codes(values.size());
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = std::clamp(std::nearbyint(values[i] / double{scales[along(dims, axis, i)]}), -limit, bits == 2 ? 1.0 : limit);
  qnn::Encoding encoding = qnn::Encoding::per_axis(static_cast<int32_t>(axis), scales);
  if (bits < 8) {
    encoding.kind = qnn::Encoding::Kind::kBwAxis;
    encoding.bits = bits;
  }
  return add_codes({name, Role::kConstant, DT::kSfixed8, std::move(dims), encoding, codes, {}});
}

size_t GraphSpec::block_constant(const std::string& name, Dims dims, size_t axis, std::span<const double> values, uint32_t blocks) {
  const size_t inputs = axis + 1 == dims.size() ? axis - 1 : axis + 1, block = dims[inputs] / blocks;
  const size_t outputs = dims[axis];
  std::vector<double> largest(outputs * blocks, 0);
  const auto place = [&](size_t i) { return along(dims, axis, i) * blocks + along(dims, inputs, i) / block; };
  for (size_t i = 0; i < values.size(); ++i) largest[place(i)] = std::max(largest[place(i)], std::abs(values[i]));
  qnn::Encoding encoding = qnn::Encoding::per_axis(static_cast<int32_t>(axis), std::vector<float>(outputs));
  encoding.kind = qnn::Encoding::Kind::kBlockwise;
  encoding.bits = 4;
  encoding.blocks = blocks;
  for (size_t o = 0; o < outputs; ++o) {
    const double most = *std::max_element(largest.begin() + static_cast<std::ptrdiff_t>(o * blocks), largest.begin() + static_cast<std::ptrdiff_t>((o + 1) * blocks));
    encoding.scales[o] = static_cast<float>(most / (7 * 16));
    for (size_t b = 0; b < blocks; ++b) encoding.block_scales.push_back(static_cast<uint8_t>(std::clamp(std::ceil(largest[o * blocks + b] / (7 * double{encoding.scales[o]})), 1.0, 16.0)));
  }
  std::vector<double> codes(values.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = std::clamp(std::nearbyint(values[i] / (double{encoding.scales[along(dims, axis, i)]} * encoding.block_scales[place(i)])), -7.0, 7.0);
  }
  return add_codes({name, Role::kConstant, DT::kSfixed8, std::move(dims), encoding, codes, {}});
}

size_t GraphSpec::sum_bias(const std::string& name, size_t x, size_t w, uint32_t outputs) {
  const Tensor &input = tensors_[x], &weight = tensors_[w];
  const std::vector<double> values = normal(random_, outputs, 0, 0.3);
  if (is_float(input.dtype)) return constant(name, input.dtype, {outputs}, values);
  const bool per_output = weight.encoding.kind == qnn::Encoding::Kind::kAxis;
  std::vector<float> steps(outputs);
  std::vector<double> codes(outputs);
  for (size_t o = 0; o < outputs; ++o) {
    steps[o] = input.encoding.scale * (per_output ? weight.encoding.scales[o] : weight.encoding.scale);
    codes[o] = std::nearbyint(values[o] / double{steps[o]});
  }
  const qnn::Encoding encoding = per_output ? qnn::Encoding::per_axis(0, steps) : qnn::Encoding::scale_offset(steps[0], 0);
  return add_codes({name, Role::kConstant, DT::kSfixed32, {outputs}, encoding, codes, {}});
}

size_t GraphSpec::weight(const std::string& name, uint32_t out, uint32_t in, bool conv) {
  // As a converter makes them: normal weights, every output's largest one at ±127.
  std::vector<float> scales(out);
  std::vector<double> codes(size_t{out} * in);
  for (uint32_t o = 0; o < out; ++o) {
    const double deviation = std::exp(std::normal_distribution<double>(0, 0.3)(random_)) / std::sqrt(static_cast<double>(in));
    const std::vector<double> row = normal(random_, in, 0, deviation);
    double largest = 0;
    for (const double v : row) largest = std::max(largest, std::abs(v));
    scales[o] = static_cast<float>(largest / 127);
    for (uint32_t k = 0; k < in; ++k) {
      const double code = std::clamp(std::nearbyint(row[k] / double{scales[o]}), -127.0, 127.0);
      codes[conv ? size_t{k} * out + o : size_t{o} * in + k] = code;
    }
  }
  return add_codes({name, Role::kConstant, DT::kSfixed8, conv ? Dims{1, 1, in, out} : Dims{out, in}, qnn::Encoding::per_axis(conv ? 3 : 0, scales), codes, {}});
}

size_t GraphSpec::bias(const std::string& name, size_t x, size_t w) {
  const Tensor &input = tensors_[x], &weight = tensors_[w];
  const std::vector<float>& scales = weight.encoding.scales;
  const std::vector<double> values = normal(random_, scales.size());
  if (is_float(input.dtype)) return constant(name, DT::kFloat16, {static_cast<uint32_t>(values.size())}, values);
  std::vector<float> steps(scales.size());
  std::vector<double> codes(scales.size());
  for (size_t o = 0; o < scales.size(); ++o) {
    steps[o] = input.encoding.scale * scales[o];
    codes[o] = std::nearbyint(values[o] / double{steps[o]});
  }
  return add_codes({name, Role::kConstant, DT::kSfixed32, {static_cast<uint32_t>(codes.size())}, qnn::Encoding::per_axis(0, steps), codes, {}});
}

std::vector<size_t> GraphSpec::apply(const std::string& op, std::vector<size_t> inputs, std::vector<qnn::ParamDesc> params, std::vector<Output> outputs) {
  Node node{op, std::move(inputs), {}, std::move(params)};
  for (Output& output : outputs) {
    Tensor t{output.name, Role::kInternal, output.target.dtype, std::move(output.dims), {}, std::move(output.exact), {}};
    if (t.exact.size() != element_count(t.dims)) throw std::logic_error(op + ": the reference has not as many elements as the output");
    t.encoding = output.encoding ? *output.encoding : output.encoding_of ? tensors_[*output.encoding_of].encoding : calibrate(t.dtype, output.target.fit, t.exact, output.target.clipped);
    node.outputs.push_back(add(std::move(t)));
  }
  nodes_.push_back(std::move(node));
  return nodes_.back().outputs;
}

size_t GraphSpec::apply(const std::string& op, std::vector<size_t> inputs, std::vector<qnn::ParamDesc> params, Output output) {
  return apply(op, std::move(inputs), std::move(params), std::vector<Output>{std::move(output)})[0];
}

size_t GraphSpec::result(Node node, const std::string& name, Target target, Dims dims, std::vector<double> exact, std::optional<size_t> encoding_of) {
  return apply(node.op, std::move(node.inputs), std::move(node.params), Output{name, target, std::move(dims), std::move(exact), encoding_of});
}

size_t GraphSpec::linear(size_t x, size_t w, const std::string& name, Target target, std::optional<size_t> bias) {
  const Tensor &input = tensors_[x], &weight = tensors_[w];
  const bool conv = weight.dims.size() == 4;
  Node node{conv ? "Conv2d" : "FullyConnected", {x, w}, {}, {}};
  if (bias) node.inputs.push_back(*bias);
  if (conv) node.params = {qnn::ParamDesc::tensor("stride", {2}, {1, 1}), qnn::ParamDesc::tensor("pad_amount", {2, 2}, {0, 0, 0, 0})};
  Dims dims = input.dims;
  dims.back() = conv ? weight.dims[3] : weight.dims[0];
  return result(std::move(node), name, target, std::move(dims), reference::linear(input, weight, bias ? &tensors_[*bias] : nullptr));
}

size_t GraphSpec::same_shape(const std::string& op, size_t x, const std::string& name, Target target) {
  const Tensor& input = tensors_[x];
  const bool arithmetic = op == "Sigmoid" || op == "Relu";
  return result({op, {x}, {}, {}}, name, target, input.dims, arithmetic ? reference::unary(op, input) : reference::reals(input));
}

size_t GraphSpec::binary(const std::string& op, size_t a, size_t b, const std::string& name) {
  const Tensor &left = tensors_[a], &right = tensors_[b];
  Dims dims = left.dims;
  for (size_t d = 0; d < dims.size(); ++d) dims[d] = std::max(dims[d], right.dims[d]);
  const bool multiply = op == "ElementWiseMultiply";
  if (!multiply && op != "ElementWiseAdd") throw std::logic_error("no reference for " + op);
  return result({op, {a, b}, {}, {}}, name, {left.dtype}, std::move(dims), reference::binary(multiply, left, right));
}

size_t GraphSpec::rms_norm(size_t x, size_t gamma, size_t beta, const std::string& name) {
  const Tensor& input = tensors_[x];
  const auto axis = static_cast<uint32_t>(input.dims.size() - 1);
  Node node{"RmsNorm", {x, gamma, beta}, {}, {qnn::ParamDesc::f32("epsilon", kEpsilon), qnn::ParamDesc::tensor("axes", {1}, {axis})}};
  return result(std::move(node), name, {input.dtype}, input.dims, reference::rms_norm(input, tensors_[gamma], tensors_[beta], double{kEpsilon}));
}

size_t GraphSpec::reshape(size_t x, Dims dims, const std::string& name) {
  const Tensor& input = tensors_[x];
  return result({"Reshape", {x}, {}, {}}, name, {input.dtype}, std::move(dims), reference::reals(input), x);
}

size_t GraphSpec::gather(size_t x, size_t indices, int32_t axis, const std::string& name) {
  const Tensor &input = tensors_[x], &index = tensors_[indices];
  Dims dims(input.dims.begin(), input.dims.begin() + axis);
  dims.insert(dims.end(), index.dims.begin(), index.dims.end());
  dims.insert(dims.end(), input.dims.begin() + axis + 1, input.dims.end());
  Node node{"Gather", {x, indices}, {}, {qnn::ParamDesc::i32("axis", axis)}};
  return result(std::move(node), name, {input.dtype}, std::move(dims), reference::gather(input, index, static_cast<size_t>(axis)), x);
}

std::vector<const Tensor*> GraphSpec::with_role(Role role) const {
  std::vector<const Tensor*> out;
  for (const Tensor& t : tensors_) {
    if (t.role == role) out.push_back(&t);
  }
  return out;
}

std::string form_of(const GraphSpec& spec, const Node& node) {
  const auto describe = [&](size_t t) {
    const Tensor& tensor = spec.tensor(t);
    // Plans have no narrow weights.
    const std::string bits = tensor.encoding.bits == 0 ? "" : "/" + std::to_string(tensor.encoding.bits);
    return short_name(tensor.dtype) + bits + ":" + std::to_string(tensor.dims.size());
  };
  std::string text = node.op + "(";
  for (size_t i = 0; i < node.inputs.size(); ++i) text += (i == 0 ? "" : ", ") + describe(node.inputs[i]);
  const bool linear = node.op == "FullyConnected" || node.op == "Conv2d";
  const bool unaligned = linear && spec.tensor(node.inputs[0]).dims.back() % 4 != 0;
  return text + ") -> " + describe(node.outputs[0]) + (unaligned ? " unaligned" : "");
}

}  // namespace lutra::conformance
