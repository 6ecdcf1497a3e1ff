// Element-wise ops: every function on every type that it is for, and the shapes that repeat.
#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/f16.h"
#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

/// What the inputs hold.
enum class Values { kAny, kWide, kPositive, kUnit, kNonZero, kPowers, kSmallIntegers, kTruths };

std::vector<double> values_of(std::mt19937& random, Values values, size_t count) {
  std::vector<double> out = normal(random, count, 0.2, values == Values::kWide ? 4 : 1);
  for (double& v : out) {
    switch (values) {
      case Values::kAny:
      case Values::kWide: break;
      case Values::kPositive: v = 0.2 + std::abs(v); break;
      case Values::kUnit: v = 0.95 * std::sin(v); break;
      case Values::kNonZero: v = v < 0 ? v - 0.5 : v + 0.5; break;
      case Values::kPowers: v = std::exp2(std::nearbyint(v)); break;
      case Values::kSmallIntegers: v = std::nearbyint(v * 50); break;
      case Values::kTruths: v = v > 0; break;
    }
  }
  return out;
}

std::vector<double> in_half(std::vector<double> values) {
  for (double& v : values) v = f16_to_f32(f32_to_f16(static_cast<float>(v)));
  return values;
}

Target target_of(DT dtype) { return {dtype, Fit::kMinMax, 0.0}; }

// ------------------------------------------------------------------------------------------------------------------ unary

struct UnaryRow {
  const char* op;
  double (*function)(double);
  Values values;
  std::vector<DT> types;
  std::vector<qnn::ParamDesc> params = {};
  bool saturates = false;
  bool steps = false;  // jumps: where F32 is computed in F16, the data has to be exact in F16
};

/// What is known of Qualcomm's runtime 2.51.
void qualify(Case& c, std::string_view op, DT dtype, uint32_t operation_value) {
  const bool wide = dtype == kU16 || dtype == kS16;
  // Its 16-bit functions are tables and polynomials.
  if (wide) c.qualcomm = Bound::kTable16;
  if (wide && (op == "Sigmoid" || (op == "ElementWiseNeuron" && operation_value == 6))) c.qualcomm = Bound::kSteps5;
  if (op == "ElementWiseAtan" && is_float(dtype)) c.qualcomm = Bound::kFloat5;
  if (op == "ElementWiseLog" && dtype == kU16) c.exception = "gives values far from the logarithm with 16 bits (runtime 2.51)";
  if (op == "ElementWiseNeuron" && operation_value == 7 && is_float(dtype)) c.exception = "is a coarse approximation of softplus (runtime 2.51)";
  if (op == "ElementWiseFloorDiv") c.exception = "is one too low where the quotient is a whole negative number (runtime 2.51)";
  if (op == "ElementWiseSquaredDifference" && !wide && is_quantized(dtype)) c.exception = "rounds twice: up to 2 steps (runtime 2.51)";
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double gelu(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double hard_swish(double x) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; }
double hyperbolic_tangent(double x) { return std::tanh(x); }
double relu(double x) { return std::max(x, 0.0); }
double sign(double x) { return (x > 0) - (x < 0); }

const std::vector<DT>& all_reals() {
  static const std::vector<DT> types = {kF16, kF32, kU8, kS8, kU16, kS16};
  return types;
}
const std::vector<DT> kNoS16 = {kF16, kF32, kU8, kS8, kU16};
const std::vector<DT> kUnsigned = {kF16, kF32, kU8, kU16};

std::vector<qnn::ParamDesc> operation(uint32_t value) { return {qnn::ParamDesc::u32("operation", value)}; }

const std::vector<UnaryRow>& unary_rows() {
  static const std::vector<UnaryRow> rows = {
      {"ElementWiseAbs", [](double x) { return std::abs(x); }, Values::kAny, kNoS16},
      {"ElementWiseAtan", [](double x) { return std::atan(x); }, Values::kAny, kNoS16},
      {"ElementWiseAsin", [](double x) { return std::asin(x); }, Values::kUnit, {kU8, kS8, kU16}},
      {"ElementWiseCeil", [](double x) { return std::ceil(x); }, Values::kWide, {kF16, kF32}, {}, false, true},
      {"ElementWiseCos", [](double x) { return std::cos(x); }, Values::kAny, kNoS16},
      {"ElementWiseExp", [](double x) { return std::exp(x); }, Values::kAny, kNoS16, {}, true},
      {"ElementWiseFloor", [](double x) { return std::floor(x); }, Values::kWide, {kF16, kF32}, {}, false, true},
      {"ElementWiseLog", [](double x) { return std::log(x); }, Values::kPositive, kNoS16},
      {"ElementWiseNeg", [](double x) { return -x; }, Values::kAny, kUnsigned},
      {"ElementWiseRound", [](double x) { return std::nearbyint(x); }, Values::kWide, {kF16, kF32}, {}, false, true},
      {"ElementWiseRsqrt", [](double x) { return 1 / std::sqrt(x); }, Values::kPositive, all_reals()},
      {"ElementWiseSign", sign, Values::kAny, {kF16, kF32}},
      {"ElementWiseSin", [](double x) { return std::sin(x); }, Values::kAny, kNoS16},
      {"ElementWiseSquareRoot", [](double x) { return std::sqrt(x); }, Values::kPositive, all_reals()},
      {"Elu", [](double x) { return x > 0 ? x : std::expm1(x); }, Values::kAny, all_reals(), {qnn::ParamDesc::f32("alpha", 1)}},
      {"Gelu", gelu, Values::kAny, all_reals(), {}, true},
      {"HardSwish", hard_swish, Values::kWide, kNoS16, {}, true},
      {"Relu", relu, Values::kAny, {kU8, kS8, kU16, kS16}, {}, true},
      {"Relu1", [](double x) { return std::clamp(x, -1.0, 1.0); }, Values::kAny, kNoS16, {}, true},
      {"Relu6", [](double x) { return std::clamp(x, 0.0, 6.0); }, Values::kWide, kNoS16, {}, true},
      {"ReluMinMax", [](double x) { return std::clamp(x, -0.5, 1.5); }, Values::kAny, kNoS16, {qnn::ParamDesc::f32("min_value", -0.5f), qnn::ParamDesc::f32("max_value", 1.5f)}, true},
      {"ReluMinMax", [](double x) { return std::clamp(x, -20.0, 30.0); }, Values::kSmallIntegers, {kI32}, {qnn::ParamDesc::f32("min_value", -20.5f), qnn::ParamDesc::f32("max_value", 30.5f)}},
      {"Sigmoid", sigmoid, Values::kWide, {kU8, kS8, kU16, kS16}, {}, true},
      {"Tanh", hyperbolic_tangent, Values::kAny, all_reals(), {}, false},
      {"ElementWiseUnary", [](double x) { return std::abs(x); }, Values::kAny, {kF16, kU8, kU16}, operation(0)},
      {"ElementWiseUnary", [](double x) { return std::exp(x); }, Values::kAny, {kF16, kU8}, operation(5)},
      {"ElementWiseUnary", [](double x) { return -x; }, Values::kAny, {kF16, kU8, kU16}, operation(8)},
      {"ElementWiseUnary", [](double x) { return 1 / std::sqrt(x); }, Values::kPositive, {kF16, kU8}, operation(12)},
      {"ElementWiseUnary", [](double x) { return std::sqrt(x); }, Values::kPositive, {kF16, kU8, kU16}, operation(15)},
      {"ElementWiseNeuron", [](double x) { return x > 0 ? x : std::expm1(x); }, Values::kAny, {kF16, kU8}, operation(0)},
      {"ElementWiseNeuron", gelu, Values::kAny, {kF16, kU8, kU16}, operation(1), true},
      {"ElementWiseNeuron", [](double x) { return std::clamp(0.2 * x + 0.5, 0.0, 1.0); }, Values::kWide, {kF16, kU8}, operation(2), true},
      {"ElementWiseNeuron", hard_swish, Values::kWide, {kF16, kU8, kU16}, operation(3), true},
      {"ElementWiseNeuron", relu, Values::kAny, {kF16, kU8, kU16}, operation(4), true},
      {"ElementWiseNeuron", [](double x) { return std::clamp(x, -0.5, 1.5); }, Values::kAny, {kF16, kU8, kU16},
       {qnn::ParamDesc::u32("operation", 5), qnn::ParamDesc::f32("min_value", -0.5f), qnn::ParamDesc::f32("max_value", 1.5f)}, true},
      {"ElementWiseNeuron", sigmoid, Values::kAny, {kF16, kU8, kU16}, operation(6)},
      {"ElementWiseNeuron", [](double x) { return std::log1p(std::exp(x)); }, Values::kAny, {kF16, kU8}, operation(7)},
      {"ElementWiseNeuron", hyperbolic_tangent, Values::kAny, {kF16, kU8, kU16}, operation(8)},
  };
  return rows;
}

GraphSpec unary_graph(const UnaryRow& row, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{1, 4, 16, 32};
  std::vector<double> values = values_of(g.random(), row.values, element_count(dims));
  if (row.steps) values = in_half(values);
  const size_t x = g.input("x", target_of(dtype), dims, values);
  std::vector<double> y = reference::reals(g.tensor(x));
  for (double& v : y) v = row.function(v);
  Output output{"y", target_of(dtype), dims, std::move(y)};
  // The one encoding that Qualcomm's runtime takes here.
  if (row.function == hyperbolic_tangent && dtype == kU16) output.encoding = qnn::Encoding::scale_offset(0x1p-15f, -32768);
  g.output(g.apply(row.op, {x}, row.params, std::move(output)));
  return g;
}

uint32_t operation_of(const std::vector<qnn::ParamDesc>& params) {
  for (const qnn::ParamDesc& param : params) {
    if (param.name == "operation") return std::get<uint32_t>(param.value);
  }
  return 0;
}

std::string operation_name(const char* op, const std::vector<qnn::ParamDesc>& params) {
  std::string name = op;
  for (const qnn::ParamDesc& param : params) {
    if (param.name == "operation") name += "_" + std::to_string(std::get<uint32_t>(param.value));
  }
  return name;
}

void add_unary(std::vector<Case>& cases) {
  for (const UnaryRow& row : unary_rows()) {
    for (const DT dtype : row.types) {
      Case c{operation_name(row.op, row.params) + "_" + short_name(dtype) + "_unary", usual_bound(dtype), [&row, dtype](uint32_t seed) { return unary_graph(row, dtype, seed); }};
      c.saturates = row.saturates;
      qualify(c, row.op, dtype, operation_of(row.params));
      cases.push_back(std::move(c));
    }
  }
}

// ----------------------------------------------------------------------------------------------------------------- binary

struct BinaryRow {
  const char* op;
  double (*function)(double, double);
  Values a, b;
  std::vector<DT> types;
  Dims a_dims = {1, 4, 16, 32}, b_dims = {1, 4, 16, 32};
  std::vector<qnn::ParamDesc> params = {};
};

double add(double a, double b) { return a + b; }
double subtract(double a, double b) { return a - b; }
double multiply(double a, double b) { return a * b; }
double divide(double a, double b) { return a / b; }
double leaky(double a, double b) { return a < 0 ? a * b : a; }

const std::vector<BinaryRow>& binary_rows() {
  using enum Values;
  static const std::vector<BinaryRow> rows = {
      {"ElementWiseAdd", add, kAny, kAny, {kU8, kS8, kU16, kS16}},
      {"ElementWiseAdd", add, kSmallIntegers, kSmallIntegers, {kI32}},
      {"ElementWiseSubtract", subtract, kAny, kAny, all_reals()},
      {"ElementWiseSubtract", subtract, kSmallIntegers, kSmallIntegers, {kI32}},
      {"ElementWiseMultiply", multiply, kAny, kAny, {kU8, kS8, kU16, kS16}},
      {"ElementWiseMultiply", multiply, kSmallIntegers, kSmallIntegers, {kI32}},
      {"ElementWiseDivide", divide, kAny, kPositive, all_reals()},
      {"ElementWiseMaximum", [](double a, double b) { return std::max(a, b); }, kAny, kAny, all_reals()},
      {"ElementWiseMaximum", [](double a, double b) { return std::max(a, b); }, kSmallIntegers, kSmallIntegers, {kI32}},
      {"ElementWiseMinimum", [](double a, double b) { return std::min(a, b); }, kAny, kAny, kNoS16},
      {"ElementWiseMinimum", [](double a, double b) { return std::min(a, b); }, kSmallIntegers, kSmallIntegers, {kI32}},
      {"ElementWisePower", [](double a, double b) { return std::pow(a, b); }, kPositive, kAny, {kF16, kF32, kU8, kU16}},
      {"ElementWiseSquaredDifference", [](double a, double b) { return (a - b) * (a - b); }, kAny, kAny, all_reals()},
      {"Prelu", leaky, kAny, kAny, all_reals(), {1, 4, 16, 32}, {32}},
      {"Prelu", leaky, kAny, kPositive, {kF16, kU8}, {1, 4, 16, 32}, {1, 4, 16, 32}},
      {"Prelu", leaky, kAny, kPositive, {kF16, kU8}, {3, 7, 33}, {7, 1}},
      {"ElementWiseFloorDiv", [](double a, double b) { return std::floor(a / b); }, kWide, kPowers, {kF16}},
      {"ElementWiseAnd", [](double a, double b) { return double(a != 0 && b != 0); }, kTruths, kTruths, {kBool}},
      {"ElementWiseOr", [](double a, double b) { return double(a != 0 || b != 0); }, kTruths, kTruths, {kBool}},
      {"ElementWiseXor", [](double a, double b) { return double((a != 0) != (b != 0)); }, kTruths, kTruths, {kBool}},
      {"ElementWiseMod", [](double a, double b) { return a - b * std::floor(a / b); }, kSmallIntegers, kNonZero, {kI32}},
      // Shapes that repeat.
      {"ElementWiseAdd", add, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 1, 1, 32}},
      {"ElementWiseAdd", add, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 1, 16, 32}},
      {"ElementWiseAdd", add, kAny, kAny, {kF16, kU8}, {1, 4, 16, 32}, {32}},
      {"ElementWiseAdd", add, kAny, kAny, {kF16}, {4, 16, 1}, {4, 1, 32}},
      {"ElementWiseMultiply", multiply, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 4, 16, 1}},
      {"ElementWiseMultiply", multiply, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 1, 1, 1}},
      {"ElementWiseMultiply", multiply, kAny, kAny, {kF16}, {16, 32}, {1}},
      {"ElementWiseSubtract", subtract, kAny, kAny, {kF16, kU8}, {1, 1, 16, 32}, {1, 4, 16, 32}},
      {"ElementWiseDivide", divide, kAny, kPositive, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 4, 16, 1}},
      {"ElementWiseMaximum", [](double a, double b) { return std::max(a, b); }, kAny, kAny, {kF16, kU8}, {3, 7, 33}, {7, 1}},
      // The same through `operation`.
      {"ElementWiseBinary", add, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 1, 1, 32}, operation(0)},
      {"ElementWiseBinary", divide, kAny, kPositive, {kF16, kU8}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(2)},
      {"ElementWiseBinary", [](double a, double b) { return std::max(a, b); }, kAny, kAny, {kF16, kU8}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(10)},
      {"ElementWiseBinary", [](double a, double b) { return std::min(a, b); }, kAny, kAny, {kF16, kU8}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(11)},
      {"ElementWiseBinary", multiply, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(13)},
      {"ElementWiseBinary", [](double a, double b) { return std::pow(a, b); }, kPositive, kAny, {kF16}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(16)},
      {"ElementWiseBinary", subtract, kAny, kAny, {kF16, kU8, kU16}, {1, 4, 16, 32}, {1, 4, 16, 32}, operation(18)},
  };
  return rows;
}

GraphSpec binary_graph(const BinaryRow& row, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  std::vector<double> b_values = values_of(g.random(), row.b, element_count(row.b_dims));
  if (!is_float(dtype) && !is_quantized(dtype) && row.b == Values::kNonZero) {
    for (double& v : b_values) v = v < 0 ? std::floor(v * 4) : std::ceil(v * 4);
  }
  const size_t a = g.input("a", target_of(dtype), row.a_dims, values_of(g.random(), row.a, element_count(row.a_dims)));
  const size_t b = g.input("b", target_of(dtype), row.b_dims, b_values);
  const Dims dims = reference::repeated_dims(row.a_dims, row.b_dims);
  std::vector<double> y = reference::repeat(g.tensor(a), dims);
  const std::vector<double> right = reference::repeat(g.tensor(b), dims);
  for (size_t i = 0; i < y.size(); ++i) y[i] = row.function(y[i], right[i]);
  g.output(g.apply(row.op, {a, b}, row.params, {"y", target_of(dtype), dims, std::move(y)}));
  return g;
}

void add_binary(std::vector<Case>& cases) {
  for (const BinaryRow& row : binary_rows()) {
    for (const DT dtype : row.types) {
      const std::string shapes = shape_name(row.a_dims) + "_by_" + shape_name(row.b_dims);
      Case c{operation_name(row.op, row.params) + "_" + short_name(dtype) + "_" + shapes, usual_bound(dtype), [&row, dtype](uint32_t seed) { return binary_graph(row, dtype, seed); }};
      c.saturates = std::string_view(row.op) == "ElementWiseSquaredDifference";
      qualify(c, row.op, dtype, operation_of(row.params));
      cases.push_back(std::move(c));
    }
  }
}

// ------------------------------------------------------------------------------------------------- comparison, choice, logic

struct CompareRow {
  const char* op;
  bool (*function)(double, double);
  std::vector<qnn::ParamDesc> params = {};
};

const std::vector<CompareRow>& compare_rows() {
  static const std::vector<CompareRow> rows = {
      {"ElementWiseEqual", [](double a, double b) { return a == b; }},
      {"ElementWiseNotEqual", [](double a, double b) { return a != b; }},
      {"ElementWiseGreater", [](double a, double b) { return a > b; }},
      {"ElementWiseGreaterEqual", [](double a, double b) { return a >= b; }},
      {"ElementWiseLess", [](double a, double b) { return a < b; }},
      {"ElementWiseLessEqual", [](double a, double b) { return a <= b; }},
      {"ElementWiseBinary", [](double a, double b) { return a > b; }, operation(6)},
      {"ElementWiseBinary", [](double a, double b) { return a < b; }, operation(8)},
  };
  return rows;
}

/// Both inputs have one encoding and few values, so that many are equal.
GraphSpec compare_graph(const CompareRow& row, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{1, 4, 16, 32};
  const auto values = [&] {
    std::vector<double> v = normal(g.random(), element_count(dims), 0, 2);
    for (double& one : v) one = std::clamp(std::nearbyint(one), -4.0, 4.0);
    v[0] = -4;
    v[1] = 4;
    return v;
  };
  const size_t a = g.input("a", target_of(dtype), dims, values()), b = g.input("b", target_of(dtype), dims, values());
  std::vector<double> y = reference::reals(g.tensor(a));
  const std::vector<double> right = reference::reals(g.tensor(b));
  for (size_t i = 0; i < y.size(); ++i) y[i] = row.function(y[i], right[i]);
  g.output(g.apply(row.op, {a, b}, row.params, {"y", {kBool}, dims, std::move(y)}));
  return g;
}

GraphSpec select_graph(DT dtype, const Dims& condition, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{1, 4, 16, 32};
  const size_t c = g.input("c", {kBool}, condition, values_of(g.random(), Values::kTruths, element_count(condition)));
  const Values values = is_float(dtype) || is_quantized(dtype) ? Values::kAny : Values::kSmallIntegers;
  const size_t a = g.input("a", target_of(dtype), dims, values_of(g.random(), values, element_count(dims)));
  const size_t b = g.input("b", target_of(dtype), dims, values_of(g.random(), values, element_count(dims)));
  std::vector<double> y = reference::repeat(g.tensor(c), dims);
  const std::vector<double> yes = reference::reals(g.tensor(a)), no = reference::reals(g.tensor(b));
  for (size_t i = 0; i < y.size(); ++i) y[i] = y[i] != 0 ? yes[i] : no[i];
  g.output(g.apply("ElementWiseSelect", {c, a, b}, {}, {"y", target_of(dtype), dims, std::move(y)}));
  return g;
}

GraphSpec not_graph(uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{1, 4, 16, 32};
  const size_t x = g.input("x", {kBool}, dims, values_of(g.random(), Values::kTruths, element_count(dims)));
  std::vector<double> y = reference::reals(g.tensor(x));
  for (double& v : y) v = v == 0;
  g.output(g.apply("ElementWiseNot", {x}, {}, {"y", {kBool}, dims, std::move(y)}));
  return g;
}

void add_choices(std::vector<Case>& cases) {
  for (const CompareRow& row : compare_rows()) {
    for (const DT dtype : {kF16, kF32, kU8, kS8, kU16, kS16, kI32}) {
      cases.push_back({operation_name(row.op, row.params) + "_" + short_name(dtype) + "_compare", Bound::kExact, [&row, dtype](uint32_t seed) { return compare_graph(row, dtype, seed); }});
    }
  }
  for (const DT dtype : {kF16, kF32, kU8, kS8, kU16, kS16, kI32}) {
    cases.push_back({"ElementWiseSelect_" + short_name(dtype), usual_bound(dtype), [dtype](uint32_t seed) { return select_graph(dtype, {1, 4, 16, 32}, seed); }});
  }
  for (const DT dtype : {kF16, kU8}) {
    cases.push_back({"ElementWiseSelect_" + short_name(dtype) + "_by_row", usual_bound(dtype), [dtype](uint32_t seed) { return select_graph(dtype, {1, 1, 1, 32}, seed); }});
  }
  cases.push_back({"ElementWiseNot_bool", Bound::kExact, not_graph});
}

}  // namespace

void add_elementwise_cases(std::vector<Case>& cases) {
  add_unary(cases);
  add_binary(cases);
  add_choices(cases);
}

}  // namespace lutra::conformance
