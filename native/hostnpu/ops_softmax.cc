// Softmax and LogSoftmax over the last dimension.
#include <cmath>

#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

class SoftmaxStage final : public Stage {
 public:
  SoftmaxStage(const Node& node, Planner& planner, bool logarithm)
      : kernel_(planner.ops()), x_{computed_element(node.in(0)), node.in(0).affine(), nullptr}, y_{computed_element(node.out()), node.out().affine(), nullptr}, columns_(node.out().last_dim()),
        beta_(float_param(node, "beta", 1.0f)), logarithm_(logarithm), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    auto x = x_;
    auto y = y_;
    for (uint32_t row = begin; row < end; ++row) {
      x.data = memory[from_] + size_t{row} * columns_ * element_size(x.type);
      y.data = memory[to_] + size_t{row} * columns_ * element_size(y.type);
      kernel_.softmax(x, beta_, logarithm_, y, columns_);
    }
  }

 private:
  const kernels::NpuOpKernels& kernel_;
  kernels::ConstElements x_;
  kernels::Elements y_;
  uint32_t columns_;
  float beta_;
  bool logarithm_;
  Slot from_, to_;
};

void check_rows(const Node& node) {
  expect_params(node, {"axis", "beta"});
  expect_arity(node, 1, 1);
  const size_t rank = node.in(0).dims.size();
  if (axis_param(node, "axis", rank, -1) != rank - 1) refuse("only the last axis is supported");
  if (!std::isfinite(float_param(node, "beta", 1.0f))) refuse("beta is not finite");
  expect_same_shape(node.in(0), node.out());
}

void check_softmax(const Node& node) {
  check_rows(node);
  expect_type(node.in(0), kTypesReal);
  const TypeSet type = type_of(node.in(0));
  expect_type(node.out(), (type & kTypesQuantized) != 0 ? type | kTypeF32 : type);
}

void check_log_softmax(const Node& node) {
  check_rows(node);
  expect_type(node.in(0), kTypesFloat | kTypeU8 | kTypeU16);
  expect_type(node.out(), type_of(node.in(0)));
}

void plan(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = size_t{node.out().last_dim()} * (data_type_size(node.in(0).dtype) + data_type_size(node.out().dtype));
  work.stage = std::make_unique<SoftmaxStage>(node, planner, node.type == "LogSoftmax");
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Softmax", "F32, F16, U8, S8, U16, S16 to the same type, of quantised types also to F32; over the last axis", check_softmax, plan},
    {"LogSoftmax", "input and output of one type of F32, F16, U8, U16; over the last axis", check_log_softmax, plan},
};

}  // namespace

std::span<const OpDefinition> softmax_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
