// RmsNorm and LayerNorm over the last dimensions.
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "hostnpu/convert.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;

/// A gain or a bias as F32: values of a constant, or what a stage converts at every execution, or nothing.
struct Vector {
  std::vector<float> values;
  std::optional<Slot> slot;

  const float* data(Memory memory) const noexcept {
    if (slot) return reinterpret_cast<const float*>(memory[*slot]);
    return values.empty() ? nullptr : values.data();
  }
};

class NormStage final : public Stage {
 public:
  using Kernel = decltype(kernels::NpuOpKernels::rms_norm);

  NormStage(const Node& node, Planner& planner, Kernel kernel, uint32_t columns, float epsilon, Vector gain, Vector bias)
      : kernel_(kernel), type_(computed_element(node.out())), x_(node.in(0).affine()), y_(node.out().affine()), columns_(columns), epsilon_(epsilon), gain_(std::move(gain)),
        bias_(std::move(bias)), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t row = columns_ * element_size(type_);
    const float *gain = gain_.data(memory), *bias = bias_.data(memory);
    for (uint32_t r = begin; r < end; ++r) kernel_({type_, x_, memory[from_] + r * row}, gain, bias, epsilon_, {type_, y_, memory[to_] + r * row}, columns_);
  }

 private:
  Kernel kernel_;
  Element type_;
  kernels::Affine x_, y_;
  uint32_t columns_;
  float epsilon_;
  Vector gain_, bias_;
  Slot from_, to_;
};

/// Values of a constant vector as F32.
std::vector<float> real_values(const TensorInfo& tensor, const kernels::NpuOpKernels& ops) {
  if (tensor.data == nullptr || !tensor.data->has_raw()) throw Failure(abi::kGraphFinalizeFailed, "constant '" + tensor.name + "' has no data");
  std::vector<float> values(tensor.elements());
  const std::byte* raw = tensor.data->raw().data();
  if (tensor.dtype == abi::DataType::kSfixed32) {
    for (size_t i = 0; i < values.size(); ++i) {
      int32_t code;
      std::memcpy(&code, raw + i * 4, 4);
      values[i] = static_cast<float>((static_cast<double>(code) + tensor.affine().offset) * static_cast<double>(tensor.affine().scale));
    }
  } else {
    ops.convert({*element_of(tensor.dtype), tensor.affine(), raw}, {Element::kF32, {}, reinterpret_cast<std::byte*>(values.data())}, values.size());
  }
  return values;
}

Vector plan_vector(const Node& node, size_t input, Planner& planner, StagePlan& work) {
  if (!node.has_input(input)) return {};
  const TensorInfo& tensor = node.in(input);
  if (tensor.is_static()) return {real_values(tensor, planner.ops()), {}};
  const Slot floats = planner.scratch(tensor.elements() * 4);
  plan_convert(planner, planner.slot(tensor), {*element_of(tensor.dtype), tensor.affine()}, floats, {Element::kF32, {}}, tensor.elements());
  work.shared.push_back(floats);
  return {{}, floats};
}

void check_vector(const TensorInfo& vector, std::string_view role, uint32_t columns, Element type) {
  const std::string name = std::string(role) + " '" + vector.name + "'";
  if (vector.elements() != columns) refuse(name + " does not have the length of the normed dimensions");
  if (vector.dtype == abi::DataType::kSfixed32 && is_quantized(type) && role == "beta") {
    if (!vector.is_static()) refuse(name + " is S32 and not constant");
    if (vector.quantization.kind != Quantization::Kind::kPerTensor) refuse(name + " has no scale of the whole tensor");
    return;
  }
  const Element element = computed_element(vector);
  if (is_quantized(type) ? !is_quantized(element) : element != type) refuse(name + " is " + data_type_name(vector.dtype));
}

float epsilon_of(const Node& node) { return float_param(node, "epsilon", node.type == "RmsNorm" ? 1e-6f : 1e-3f); }

/// How many elements are normed together: those of the last dimension, or of all but the first in LayerNorm.
uint32_t columns_of(const Node& node) {
  const auto& dims = node.in(0).dims;
  const Param* param = node.param("axes");
  if (param == nullptr || (param->is_tensor && param->words.empty())) return dims.back();  // a description without data is taken as right
  const auto axes = words_param(node, "axes", 1);
  if (axes.size() == 1 && axes[0] == dims.size() - 1) return dims.back();
  if (node.type == "RmsNorm") refuse("only the last axis is supported");
  uint32_t columns = 1;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes.size() + 1 != dims.size() || axes[i] != i + 1) refuse("only the last axis, or all but the first, are supported");
    columns *= dims[axes[i]];
  }
  return columns;
}

void check(const Node& node) {
  expect_params(node, {"epsilon", "axes"});
  expect_arity(node, node.type == "RmsNorm" ? 2 : 1, 3);
  const TensorInfo& x = node.in(0);
  const Element type = computed_element(x);
  if (node.type == "RmsNorm" ? type == Element::kS8 : type == Element::kS16) refuse(std::string(data_type_name(x.dtype)) + " is not a form of it");
  if (computed_element(node.out()) != type) refuse("input and output have different types");
  expect_same_shape(x, node.out());
  const uint32_t columns = columns_of(node);
  if (node.has_input(1)) check_vector(node.in(1), "gamma", columns, type);
  if (node.has_input(2)) check_vector(node.in(2), "beta", columns, type);
  const float epsilon = epsilon_of(node);
  if (!std::isfinite(epsilon) || epsilon < 0.0f) refuse("epsilon is negative or not finite");
}

void plan(const Node& node, Planner& planner) {
  const uint32_t columns = columns_of(node);
  StagePlan work;
  work.items = static_cast<uint32_t>(node.out().elements() / columns);
  work.rowwise = true;
  work.row_bytes = 2 * size_t{columns} * data_type_size(node.out().dtype);
  Vector gain = plan_vector(node, 1, planner, work), bias = plan_vector(node, 2, planner, work);
  const auto kernel = node.type == "RmsNorm" ? planner.ops().rms_norm : planner.ops().layer_norm;
  work.stage = std::make_unique<NormStage>(node, planner, kernel, columns, epsilon_of(node), std::move(gain), std::move(bias));
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"RmsNorm", "F32, F16 with gamma and optional beta of the same type; U8, U16, S16 with gamma U8, S8, U16, S16 and beta alike or constant S32; over the last axis", check, plan},
    {"LayerNorm",
     "F32, F16 with optional gamma and beta of the same type; U8, S8, U16 with gamma U8, S8, U16, S16 and beta alike or constant S32; over the last axis, or over all but the first", check, plan},
};

}  // namespace

std::span<const OpDefinition> norm_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
