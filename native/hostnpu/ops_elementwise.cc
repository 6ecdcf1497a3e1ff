// Element-wise ops with broadcasting: one stage, the functions of functions.h.
#include <algorithm>
#include <array>
#include <cmath>

#include "hostnpu/box.h"
#include "hostnpu/elements.h"
#include "hostnpu/functions.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr size_t kMaxInputs = 3;

class MapStage final : public Stage {
 public:
  MapStage(const Node& node, Planner& planner, const Function& function, const Settings& settings, Box box)
      : kernel_(planner.ops()), function_(function), settings_(settings), box_(std::move(box)), output_(node.out(), planner.ops()), to_(planner.slot(node.out())) {
    for (size_t i = 0; i < function.inputs; ++i) {
      inputs_[i] = Elements(node.in(i), planner.ops());
      from_[i] = planner.slot(node.in(i));
      dense_ = dense_ && box_.dense(i);
    }
    // Of values that are chosen or computed, not of the condition or of truth values.
    computes_integers_ = inputs_[function.inputs - 1].is_integer();
    fused_ = (function.unary || function.binary) && !computes_integers_;
    for (size_t i = 0; i < function.inputs; ++i) fused_ = fused_ && inputs_[i].element() == output_.element();
  }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t columns = box_.columns();
    std::array<int64_t, Box::kMaxOperands> steps{1, 1, 1, 1};
    if (dense_) {
      std::array<int64_t, Box::kMaxOperands> at{};
      at.fill(static_cast<int64_t>(begin * columns));
      return run_line(memory, at, steps, begin * columns, (end - begin) * columns);
    }
    for (size_t i = 0; i < function_.inputs; ++i) steps[i] = columns == 1 ? 1 : box_.step(i);
    for (uint32_t row = begin; row < end; ++row) run_line(memory, box_.row(row), steps, row * columns, columns);
  }

 private:
  using Places = std::array<int64_t, Box::kMaxOperands>;

  void run_line(Memory memory, const Places& at, const Places& steps, size_t to, size_t count) const {
    if (fused_ && steps[0] == 1 && steps[1] == 1) return run_fused(memory, at, to, count);
    if (computes_integers_) return run_blocks<int64_t>(memory, at, steps, to, count);
    run_blocks<float>(memory, at, steps, to, count);
  }

  void run_fused(Memory memory, const Places& at, size_t to, size_t count) const {
    const auto operand = [&](size_t i) {
      return kernels::ConstElements{*inputs_[i].element(), inputs_[i].affine(), memory[from_[i]] + at[i] * static_cast<int64_t>(inputs_[i].size())};
    };
    const kernels::Elements y{*output_.element(), output_.affine(), memory[to_] + to * output_.size()};
    if (function_.unary) return kernel_.unary(*function_.unary, operand(0), y, count);
    kernel_.binary(*function_.binary, operand(0), operand(1), y, count);
  }

  template <class T>
  void run_blocks(Memory memory, const Places& at, const Places& steps, size_t to, size_t count) const {
    alignas(64) T blocks[kMaxInputs][kBlock];
    alignas(64) T result[kBlock];
    const T* in[kMaxInputs] = {blocks[0], blocks[1], blocks[2]};
    for (size_t done = 0; done < count; done += kBlock) {
      const size_t n = std::min(kBlock, count - done);
      for (size_t i = 0; i < function_.inputs; ++i) inputs_[i].load(memory[from_[i]], at[i] + static_cast<int64_t>(done) * steps[i], steps[i], n, blocks[i]);
      if constexpr (std::is_same_v<T, float>) {
        function_.reals(in, result, n, settings_);
      } else {
        function_.integers(in, result, n, settings_);
      }
      output_.store(memory[to_], static_cast<int64_t>(to + done), n, result);
    }
  }

  const kernels::NpuOpKernels& kernel_;
  const Function& function_;
  Settings settings_;
  Box box_;
  bool dense_ = true, fused_ = false, computes_integers_ = false;
  std::array<Elements, kMaxInputs> inputs_;
  Elements output_;
  std::array<Slot, kMaxInputs> from_{};
  Slot to_;
};

// ------------------------------------------------------------------------------------------------------------------ table

/// An op that is one function, or one of a list by its parameter `operation`.
struct Row {
  const char* type;
  const char* function;  // NULL: by `operation`
  TypeSet types;
  const char* supports;
};

constexpr TypeSet kAll = kTypesReal | kTypeI32;
constexpr const char* kArithmetic = "two inputs and an output of one type of F32, F16, U8, S8, U16, S16, INT32; shapes that repeat to the output's";
constexpr const char* kWithUint = "two inputs and an output of one type of F32, F16, U8, S8, U16, S16, INT32, UINT32; shapes that repeat to the output's";
constexpr const char* kComparison = "two inputs of one type of F32, F16, U8, S8, U16, S16, INT32; BOOL8, or for quantised inputs and INT32 also U8, S8, out; shapes that repeat to the output's";
constexpr const char* kLogic = "BOOL8, or one type of U8, S8, on both sides; shapes that repeat to the output's";
constexpr const char* kSingle = "input and output of one type of F32, F16, U8, S8, U16, S16 and one shape";
constexpr const char* kSingleOrInt = "input and output of one type of F32, F16, U8, S8, U16, S16, INT32 and one shape";

constexpr Row kRows[] = {
    {"ElementWiseAdd", "Add", kAll, kArithmetic},
    {"ElementWiseSubtract", "Subtract", kAll, kArithmetic},
    {"ElementWiseMultiply", "Multiply", kAll | kTypeU32, kWithUint},
    {"ElementWiseDivide", "Divide", kAll, kArithmetic},
    {"ElementWiseFloorDiv", "FloorDiv", kTypesReal, kSingle},
    {"ElementWiseMod", "Mod", kTypeI32, "INT32; shapes that repeat to the output's"},
    {"ElementWiseMaximum", "Maximum", kAll | kTypeU32, kWithUint},
    {"ElementWiseMinimum", "Minimum", kAll | kTypeU32, kWithUint},
    {"ElementWisePower", "Power", kTypesReal, "two inputs of one type of F32, F16, or of types of U8, S8, U16, S16; shapes that repeat to the output's"},
    {"Prelu", "Prelu", kTypesReal, "x and slopes of one type of F32, F16, or of types of U8, S8, U16, S16; shapes that repeat to the output's"},
    {"ElementWiseSquaredDifference", "SquaredDifference", kTypesReal, kArithmetic},
    {"ElementWiseEqual", "Equal", kAll, kComparison},
    {"ElementWiseNotEqual", "NotEqual", kAll, kComparison},
    {"ElementWiseGreater", "Greater", kAll, kComparison},
    {"ElementWiseGreaterEqual", "GreaterEqual", kAll, kComparison},
    {"ElementWiseLess", "Less", kAll, kComparison},
    {"ElementWiseLessEqual", "LessEqual", kAll, kComparison},
    {"ElementWiseAnd", "And", kTypeBool | kTypeU8 | kTypeS8, kLogic},
    {"ElementWiseOr", "Or", kTypeBool | kTypeU8 | kTypeS8, kLogic},
    {"ElementWiseXor", "Xor", kTypeBool | kTypeU8 | kTypeS8, kLogic},
    {"ElementWiseNot", "Not", kTypeBool | kTypeU8 | kTypeS8, kLogic},
    {"ElementWiseAbs", "Abs", kAll, kSingleOrInt},
    {"ElementWiseAsin", "Asin", kTypesReal, kSingle},
    {"ElementWiseAtan", "Atan", kTypesReal, kSingle},
    {"ElementWiseCeil", "Ceil", kTypesReal, kSingle},
    {"ElementWiseCos", "Cos", kTypesReal, kSingle},
    {"ElementWiseExp", "Exp", kTypesReal, kSingle},
    {"ElementWiseFloor", "Floor", kTypesReal, kSingle},
    {"ElementWiseLog", "Log", kTypesReal, kSingle},
    {"ElementWiseNeg", "Neg", kAll, kSingleOrInt},
    {"ElementWiseRound", "Round", kTypesReal, kSingle},
    {"ElementWiseRsqrt", "Rsqrt", kTypesReal, kSingle},
    {"ElementWiseSign", "Sign", kAll, kSingleOrInt},
    {"ElementWiseSin", "Sin", kTypesReal, kSingle},
    {"ElementWiseSquareRoot", "SquareRoot", kTypesReal, kSingle},
    {"Elu", "Elu", kTypesReal, kSingle},
    {"Gelu", "Gelu", kTypesReal, kSingle},
    {"HardSwish", "HardSwish", kTypesReal, kSingle},
    {"Relu", "Relu", kAll, kSingleOrInt},
    {"Relu1", "ReluMinMax", kTypesReal, kSingle},
    {"Relu6", "ReluMinMax", kTypesReal, kSingle},
    {"ReluMinMax", "ReluMinMax", kAll, kSingleOrInt},
    {"Sigmoid", "Sigmoid", kTypesReal, kSingle},
    {"Tanh", "Tanh", kTypesReal, kSingle},
    {"ElementWiseBinary", nullptr, kAll | kTypeU32 | kTypeBool, "the types of the op that `operation` names, also different quantised ones on each side; shapes that repeat to the output's"},
    {"ElementWiseUnary", nullptr, kAll | kTypeBool, "the types of the op that `operation` names"},
    {"ElementWiseNeuron", nullptr, kAll, "the types of the op that `operation` names"},
};

const Row& row_of(const Node& node) {
  return *std::find_if(std::begin(kRows), std::end(kRows), [&](const Row& row) { return node.type == row.type; });
}

const Function& function_of(const Node& node) {
  if (const char* name = row_of(node).function) return *find_function(name);
  const auto list = node.type == "ElementWiseBinary" ? binary_functions() : node.type == "ElementWiseUnary" ? unary_functions() : neuron_functions();
  required_param(node, "operation");
  const int64_t operation = integer_param(node, "operation", 0);
  if (operation < 0 || operation >= static_cast<int64_t>(list.size())) refuse("there is no operation " + std::to_string(operation));
  return list[static_cast<size_t>(operation)];
}

Settings settings_of(const Node& node, const Function& function) {
  const std::string_view name = function.name;
  const float alpha = name == "HardSigmoid" ? 0.2f : 1.0f, beta = name == "HardSigmoid" ? 0.5f : 1.0f;
  const bool is_relu1 = node.type == "Relu1", is_relu6 = node.type == "Relu6";
  if (name == "ReluMinMax" && !is_relu1 && !is_relu6) {
    required_param(node, "min_value");
    required_param(node, "max_value");
  }
  const float low = float_param(node, "min_value", is_relu1 ? -1.0f : 0.0f), high = float_param(node, "max_value", is_relu6 ? 6.0f : 1.0f);
  if (std::isnan(low) || std::isnan(high)) refuse("min_value or max_value is not a number");
  return {float_param(node, "alpha", alpha), float_param(node, "beta", beta), low, high, float_param(node, "threshold", 20.0f)};
}

void check_params(const Node& node) {
  if (node.type == "ElementWiseNeuron") return expect_params(node, {"operation", "alpha", "beta", "min_value", "max_value", "threshold"});
  if (node.type == "ElementWiseBinary" || node.type == "ElementWiseUnary") return expect_params(node, {"operation"});
  if (node.type == "Elu") return expect_params(node, {"alpha"});
  if (node.type == "ReluMinMax") return expect_params(node, {"min_value", "max_value"});
  expect_params(node, {});
}

/// Each input repeats to the output.
void check_shapes(const Node& node, size_t inputs) {
  const std::vector<uint32_t>& whole = node.out().dims;
  std::vector<uint32_t> together = node.in(0).dims;
  for (size_t i = 0; i < inputs; ++i) {
    if (broadcast_strides(node.in(i).dims, whole).empty()) refuse("'" + node.in(i).name + "' does not repeat to the shape of the output");
    together = broadcast_dims(together, node.in(i).dims);
  }
  uint64_t elements = 1;
  for (const uint32_t dim : together) elements *= dim;
  if (elements != node.out().elements()) refuse("the output is larger than the inputs repeat to");
}

void check(const Node& node) {
  check_params(node);
  const Row& row = row_of(node);
  const Function& function = function_of(node);
  expect_arity(node, function.inputs, function.inputs);
  settings_of(node, function);
  const TypeSet first = type_of(node.in(0));
  const bool mixes = (row.function == nullptr || node.type == "ElementWisePower" || node.type == "Prelu") && (first & kTypesQuantized) != 0;
  for (size_t i = 0; i < function.inputs; ++i) {
    expect_type(node.in(i), row.types);
    const bool alike = node.in(i).dtype == node.in(0).dtype || (mixes && (type_of(node.in(i)) & kTypesQuantized) != 0);
    if (!alike) refuse("'" + node.in(0).name + "' and '" + node.in(i).name + "' have different types");
  }
  const bool is_integer = (first & kTypesReal) == 0;
  if (is_integer ? function.integers == nullptr : function.reals == nullptr) refuse(std::string(function.name) + " is not for " + data_type_name(node.in(0).dtype));
  const TypeSet truths = kTypeBool | ((first & kTypesFloat) == 0 ? kTypeU8 | kTypeS8 | kTypeI32 : 0);
  if (function.is_truth) {
    expect_type(node.out(), truths);
  } else {
    expect_type(node.out(), mixes ? kTypesQuantized : first);
  }
  check_shapes(node, function.inputs);
}

void check_select(const Node& node) {
  expect_params(node, {});
  expect_arity(node, 3, 3);
  const TypeSet values = type_of(node.in(1));
  expect_type(node.in(0), kTypeBool | ((values & kTypesFloat) == 0 ? kTypeU8 | kTypeS8 | kTypeI32 : 0));
  expect_type(node.in(1), kTypesReal | kTypeI32);
  expect_type(node.in(2), values);
  expect_type(node.out(), values);
  check_shapes(node, 3);
}

void plan_map(const Node& node, Planner& planner, const Function& function, const Settings& settings) {
  const std::vector<uint32_t>& whole = node.out().dims;
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  size_t touched = data_type_size(node.out().dtype);
  std::vector<std::vector<int64_t>> strides;
  for (size_t i = 0; i < function.inputs; ++i) {
    strides.push_back(broadcast_strides(node.in(i).dims, whole));
    // Rows of a tensor of the output's size are the output's rows.
    const bool by_rows = node.in(i).elements() == node.out().elements();
    (by_rows ? work.reads : work.shared).push_back(planner.slot(node.in(i)));
    if (by_rows) touched += data_type_size(node.in(i).dtype);
  }
  work.row_bytes = touched * node.out().last_dim();
  work.stage = std::make_unique<MapStage>(node, planner, function, settings, Box(whole, std::move(strides), false));
  work.writes = {planner.slot(node.out())};
  planner.add(std::move(work));
}

void plan(const Node& node, Planner& planner) {
  const Function& function = function_of(node);
  plan_map(node, planner, function, settings_of(node, function));
}

void plan_select(const Node& node, Planner& planner) { plan_map(node, planner, *find_function("Select"), {}); }

constexpr auto kOps = [] {
  std::array<OpDefinition, std::size(kRows) + 1> ops{};
  for (size_t i = 0; i < std::size(kRows); ++i) ops[i] = {kRows[i].type, kRows[i].supports, check, plan};
  ops.back() = {"ElementWiseSelect", "a condition of BOOL8 (U8, S8, INT32 for quantised values and INT32), two values and an output of one type; shapes that repeat to the output's", check_select,
                plan_select};
  return ops;
}();

}  // namespace

std::span<const OpDefinition> elementwise_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
