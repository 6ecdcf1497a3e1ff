// RmsNorm over the last dimension.
#include <cmath>
#include <cstring>
#include <vector>

#include "base/f16.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;

constexpr float kDefaultEpsilon = 1e-6f;

class RmsNormStage final : public Stage {
 public:
  RmsNormStage(const Node& node, Planner& planner, std::vector<float> gain, std::vector<float> bias)
      : kernel_(planner.ops()), type_(computed_element(node.out())), x_(node.in(0).affine()), y_(node.out().affine()), columns_(node.out().last_dim()),
        epsilon_(float_param(node, "epsilon", kDefaultEpsilon)), gain_(std::move(gain)), bias_(std::move(bias)), from_(planner.slot(node.in(0))),
        to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t row = columns_ * element_size(type_);
    for (uint32_t r = begin; r < end; ++r) {
      kernel_.rms_norm({type_, x_, memory[from_] + r * row}, gain_.data(), bias_.empty() ? nullptr : bias_.data(), epsilon_, {type_, y_, memory[to_] + r * row}, columns_);
    }
  }

 private:
  const kernels::NpuOpKernels& kernel_;
  Element type_;
  kernels::Affine x_, y_;
  uint32_t columns_;
  float epsilon_;
  std::vector<float> gain_, bias_;  // no bias: empty
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

void check_vector(const TensorInfo& vector, const char* role, uint32_t columns, Element type) {
  if (!vector.is_static()) refuse(std::string(role) + " '" + vector.name + "' is not constant");
  if (vector.elements() != columns) refuse(std::string(role) + " '" + vector.name + "' does not have the length of the last dimension");
  const bool quantized_sum = vector.dtype == abi::DataType::kSfixed32 && is_quantized(type) && std::strcmp(role, "beta") == 0;
  if (quantized_sum) {
    if (vector.quantization.kind != Quantization::Kind::kPerTensor) refuse("beta '" + vector.name + "' has no scale of the whole tensor");
    return;
  }
  const Element element = computed_element(vector);
  if (is_quantized(type) ? !is_quantized(element) : element != type) refuse(std::string(role) + " '" + vector.name + "' is " + data_type_name(vector.dtype));
}

void check(const Node& node) {
  expect_params(node, {"epsilon", "axes"});
  expect_arity(node, 2, 3);
  const TensorInfo& x = node.in(0);
  const Element type = computed_element(x);
  if (type == Element::kS8) refuse("S8 is not a form of it");
  if (computed_element(node.out()) != type) refuse("input and output have different types");
  expect_same_shape(x, node.out());
  check_vector(node.in(1), "gamma", x.last_dim(), type);
  if (node.has_input(2)) check_vector(node.in(2), "beta", x.last_dim(), type);
  const float epsilon = float_param(node, "epsilon", kDefaultEpsilon);
  if (!std::isfinite(epsilon) || epsilon < 0.0f) refuse("epsilon is negative or not finite");
  const Param* axes = node.param("axes");
  if (axes != nullptr) expect_filled_param(node, "axes", 1, static_cast<uint32_t>(x.dims.size() - 1));
}

void plan(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = 2 * size_t{node.out().last_dim()} * data_type_size(node.out().dtype);
  std::vector<float> bias;
  if (node.has_input(2)) bias = real_values(node.in(2), planner.ops());
  work.stage = std::make_unique<RmsNormStage>(node, planner, real_values(node.in(1), planner.ops()), std::move(bias));
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"RmsNorm", "F32, F16 with constant gamma and optional beta of the same type; U8, U16 with gamma U8, S8, U16 and beta alike or S32; over the last axis", check, plan},
};

}  // namespace

std::span<const OpDefinition> norm_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
