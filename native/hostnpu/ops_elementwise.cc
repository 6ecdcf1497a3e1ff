// ElementWiseAdd, ElementWiseMultiply, Sigmoid, Relu.
#include <algorithm>

#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using kernels::BinaryOp;
using kernels::Element;
using kernels::UnaryOp;

class UnaryStage final : public Stage {
 public:
  UnaryStage(UnaryOp op, const Node& node, Planner& planner)
      : kernel_(planner.ops()), op_(op), type_(computed_element(node.out())), x_(node.in(0).affine()), y_(node.out().affine()), columns_(node.out().last_dim()),
        from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t first = size_t{begin} * columns_ * element_size(type_);
    kernel_.unary(op_, {type_, x_, memory[from_] + first}, {type_, y_, memory[to_] + first}, size_t{end - begin} * columns_);
  }

 private:
  const kernels::NpuOpKernels& kernel_;
  UnaryOp op_;
  Element type_;
  kernels::Affine x_, y_;
  size_t columns_;
  Slot from_, to_;
};

/// y = a op b; an operand that is one row is used for every row.
class BinaryStage final : public Stage {
 public:
  BinaryStage(BinaryOp op, const Node& node, Planner& planner, bool a_is_row, bool b_is_row)
      : kernel_(planner.ops()), op_(op), type_(computed_element(node.out())), a_(node.in(0).affine()), b_(node.in(1).affine()), y_(node.out().affine()),
        columns_(node.out().last_dim()), a_is_row_(a_is_row), b_is_row_(b_is_row), slot_a_(planner.slot(node.in(0))), slot_b_(planner.slot(node.in(1))),
        slot_y_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t row = columns_ * element_size(type_);
    if (!a_is_row_ && !b_is_row_) {
      kernel_.binary(op_, {type_, a_, memory[slot_a_] + begin * row}, {type_, b_, memory[slot_b_] + begin * row}, {type_, y_, memory[slot_y_] + begin * row},
                     size_t{end - begin} * columns_);
      return;
    }
    for (uint32_t r = begin; r < end; ++r) {
      kernel_.binary(op_, {type_, a_, memory[slot_a_] + (a_is_row_ ? 0 : r * row)}, {type_, b_, memory[slot_b_] + (b_is_row_ ? 0 : r * row)},
                     {type_, y_, memory[slot_y_] + r * row}, columns_);
    }
  }

 private:
  const kernels::NpuOpKernels& kernel_;
  BinaryOp op_;
  Element type_;
  kernels::Affine a_, b_, y_;
  size_t columns_;
  bool a_is_row_, b_is_row_;
  Slot slot_a_, slot_b_, slot_y_;
};

/// Shape without leading ones.
std::vector<uint32_t> core_shape(const TensorInfo& tensor) {
  const auto first = std::find_if(tensor.dims.begin(), tensor.dims.end(), [](uint32_t dim) { return dim != 1; });
  return {first, tensor.dims.end()};
}

bool is_row_of(const TensorInfo& operand, const TensorInfo& whole) { return operand.elements() == whole.last_dim() && operand.last_dim() == whole.last_dim(); }

void check_binary(const Node& node) {
  expect_params(node, {});
  expect_arity(node, 2, 2);
  const Element type = computed_element(node.out());
  for (size_t i = 0; i < 2; ++i) {
    const TensorInfo& operand = node.in(i);
    if (computed_element(operand) != type) refuse("'" + operand.name + "' and '" + node.out().name + "' have different types");
    if (core_shape(operand) != core_shape(node.out()) && !is_row_of(operand, node.out())) refuse("'" + operand.name + "' has neither the output's shape nor that of one row of it");
  }
  if (core_shape(node.in(0)) != core_shape(node.out()) && core_shape(node.in(1)) != core_shape(node.out())) refuse("neither input has the output's shape");
}

void check_unary(const Node& node) {
  expect_params(node, {});
  expect_arity(node, 1, 1);
  if (computed_element(node.in(0)) != computed_element(node.out())) refuse("input and output have different types");
  expect_same_shape(node.in(0), node.out());
}

template <BinaryOp Op>
void plan_binary(const Node& node, Planner& planner) {
  const bool a_is_row = core_shape(node.in(0)) != core_shape(node.out()), b_is_row = core_shape(node.in(1)) != core_shape(node.out());
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = 3 * size_t{node.out().last_dim()} * data_type_size(node.out().dtype);
  work.stage = std::make_unique<BinaryStage>(Op, node, planner, a_is_row, b_is_row);
  (a_is_row ? work.shared : work.reads).push_back(planner.slot(node.in(0)));
  (b_is_row ? work.shared : work.reads).push_back(planner.slot(node.in(1)));
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

template <UnaryOp Op>
void plan_unary(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = 2 * size_t{node.out().last_dim()} * data_type_size(node.out().dtype);
  work.stage = std::make_unique<UnaryStage>(Op, node, planner);
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

constexpr const char* kBinaryForms = "two inputs and an output of one type of F32, F16, U8, S8, U16; equal shapes, or one input a single row ([N], [1, N])";
constexpr const char* kUnaryForms = "input and output of one type of F32, F16, U8, S8, U16 and one shape";

}  // namespace

const OpDefinition kAddOp = {"ElementWiseAdd", kBinaryForms, check_binary, plan_binary<BinaryOp::kAdd>};
const OpDefinition kMultiplyOp = {"ElementWiseMultiply", kBinaryForms, check_binary, plan_binary<BinaryOp::kMultiply>};
const OpDefinition kSigmoidOp = {"Sigmoid", kUnaryForms, check_unary, plan_unary<UnaryOp::kSigmoid>};
const OpDefinition kReluOp = {"Relu", kUnaryForms, check_unary, plan_unary<UnaryOp::kRelu>};

}  // namespace lutra::hostnpu
