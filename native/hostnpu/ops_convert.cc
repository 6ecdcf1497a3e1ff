// Quantize, Dequantize, Convert: one stage, what differs is which pairs of types they take.
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;

class ConvertStage final : public Stage {
 public:
  ConvertStage(const Node& node, Planner& planner)
      : kernel_(planner.ops()),
        x_{computed_element(node.in(0)), node.in(0).affine(), nullptr},
        y_{computed_element(node.out()), node.out().affine(), nullptr},
        columns_(node.out().last_dim()),
        from_(planner.slot(node.in(0))),
        to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t first = size_t{begin} * columns_;
    auto x = x_;
    auto y = y_;
    x.data = memory[from_] + first * element_size(x.type);
    y.data = memory[to_] + first * element_size(y.type);
    kernel_.convert(x, y, size_t{end - begin} * columns_);
  }
  Slot from() const noexcept { return from_; }
  Slot to() const noexcept { return to_; }
  size_t row_bytes() const noexcept { return columns_ * (element_size(x_.type) + element_size(y_.type)); }

 private:
  const kernels::NpuOpKernels& kernel_;
  kernels::ConstElements x_;
  kernels::Elements y_;
  size_t columns_;
  Slot from_, to_;
};

void check_pair(const Node& node, bool (*accepts)(Element from, Element to)) {
  expect_arity(node, 1, 1);
  const Element from = computed_element(node.in(0)), to = computed_element(node.out());
  if (!accepts(from, to)) refuse(std::string(data_type_name(node.in(0).dtype)) + " to " + data_type_name(node.out().dtype) + " is not a form of it");
  expect_same_shape(node.in(0), node.out());
}

void check_quantize(const Node& node) {
  expect_params(node, {});
  check_pair(node, [](Element from, Element to) { return !is_quantized(from) && is_quantized(to); });
}

void check_dequantize(const Node& node) {
  expect_params(node, {});
  check_pair(node, [](Element from, Element to) { return is_quantized(from) && !is_quantized(to); });
}

void check_convert(const Node& node) {
  expect_params(node, {"dynamic_input_data", "dynamic_output_data"});
  if (bool_param(node, "dynamic_input_data", false) || bool_param(node, "dynamic_output_data", false)) refuse("dynamic encodings are not supported");
  check_pair(node, [](Element from, Element to) { return from != to || is_quantized(from); });
}

void plan(const Node& node, Planner& planner) {
  auto stage = std::make_unique<ConvertStage>(node, planner);
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = stage->row_bytes();
  work.reads = {stage->from()};
  work.writes = {stage->to()};
  work.stage = std::move(stage);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Quantize", "F32, F16 to U8, S8, U16, S16 with scale and offset", check_quantize, plan},
    {"Dequantize", "U8, S8, U16, S16 with scale and offset to F32, F16", check_dequantize, plan},
    {"Convert", "between F32, F16, U8, S8, U16, S16 with static encodings", check_convert, plan},
};

}  // namespace

std::span<const OpDefinition> convert_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
