// Row by row: Softmax, LogSoftmax, LayerNorm, RmsNorm and L2Norm.
#include <algorithm>
#include <cmath>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

using Words = std::vector<uint32_t>;
using Params = std::vector<qnn::ParamDesc>;

Words last_axis(const Dims& dims) { return {static_cast<uint32_t>(dims.size() - 1)}; }
qnn::ParamDesc axes_param(const Words& axes) { return qnn::ParamDesc::tensor("axes", {static_cast<uint32_t>(axes.size())}, axes); }

// ------------------------------------------------------------------------------------------------------ Softmax, LogSoftmax

std::vector<double> softmax(std::vector<double> row, double beta, bool logarithm) {
  const double top = *std::max_element(row.begin(), row.end()) * beta;
  double sum = 0;
  for (const double v : row) sum += std::exp(beta * v - top);
  for (double& v : row) v = logarithm ? beta * v - top - std::log(sum) : std::exp(beta * v - top) / sum;
  return row;
}

/// The encodings of shares that Qualcomm's runtime knows.
qnn::Encoding share_encoding(DT dtype) {
  if (dtype == kU16) return qnn::Encoding::scale_offset(0x1p-16f, 0);
  if (dtype == kS16) return qnn::Encoding::scale_offset(0x1p-15f, 0);
  return qnn::Encoding::scale_offset(0x1p-8f, dtype == kS8 ? 128 : 0);
}

struct SoftmaxRow {
  const char* op;
  DT from, to;
  Dims dims;
  double beta = 1;
  bool other_encoding = false;  // another one than Qualcomm's runtime computes with
};

const std::vector<SoftmaxRow>& softmax_rows() {
  static const std::vector<SoftmaxRow> rows = [] {
    std::vector<SoftmaxRow> list;
    for (const DT dtype : {kF16, kF32, kU8, kS8, kU16, kS16}) {
      for (const Dims& dims : {Dims{1, 4, 16, 32}, Dims{7, 33}, Dims{1, 3, 8, 128}}) list.push_back({"Softmax", dtype, dtype, dims});
    }
    for (const DT dtype : {kU8, kS8, kU16, kS16}) list.push_back({"Softmax", dtype, kF32, {1, 4, 16, 32}});
    for (const DT dtype : {kF16, kU8, kU16}) list.push_back({"Softmax", dtype, dtype, {3, 5, 47}, 1.5});
    for (const DT dtype : {kU8, kS8}) list.push_back({"Softmax", dtype, dtype, {16, 32}, 1, true});
    for (const DT dtype : {kF16, kF32, kU8, kU16}) {
      for (const Dims& dims : {Dims{1, 4, 16, 32}, Dims{7, 33}}) list.push_back({"LogSoftmax", dtype, dtype, dims});
    }
    list.push_back({"LogSoftmax", kF16, kF16, {3, 5, 47}, 0.5});
    return list;
  }();
  return rows;
}

GraphSpec softmax_graph(const SoftmaxRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const bool logarithm = std::string_view(row.op) == "LogSoftmax";
  const size_t x = g.input("x", {row.from, Fit::kMinMax, 0.0005}, row.dims, normal(g.random(), element_count(row.dims), 0.5, 3));
  std::vector<double> y = reference::map_groups(g.tensor(x), last_axis(row.dims), [&](std::vector<double> values) { return softmax(std::move(values), row.beta, logarithm); });
  Output output{"y", {row.to, Fit::kMinMax}, row.dims, std::move(y)};
  if (row.other_encoding) {
    output.encoding = qnn::Encoding::scale_offset(0x1p-8f, row.to == kU8 ? -20 : 100);
  } else if (!logarithm && is_quantized(row.to)) {
    output.encoding = share_encoding(row.to);
  }
  Params params = {qnn::ParamDesc::u32("axis", last_axis(row.dims)[0])};
  if (row.beta != 1) params.push_back(qnn::ParamDesc::f32("beta", static_cast<float>(row.beta)));
  g.output(g.apply(row.op, {x}, params, std::move(output)));
  return g;
}

void add_softmax(std::vector<Case>& cases) {
  for (const SoftmaxRow& row : softmax_rows()) {
    std::string name = std::string(row.op) + "_" + short_name(row.from) + (row.to == row.from ? "" : "_to_" + short_name(row.to)) + "_" + shape_name(row.dims);
    if (row.beta != 1) name += "_beta";
    if (row.other_encoding) name += "_other_encoding";
    Case c{name, usual_bound(row.to), [&row](uint32_t seed) { return softmax_graph(row, seed); }};
    c.saturates = true;  // shares next to nothing are many
    if (is_float(row.to)) c.qualcomm = Bound::kFloat5;
    if (row.to == kU16 || row.to == kS16) c.qualcomm = Bound::kSteps34;
    if (row.to == kS16) c.span = 0.3;  // shares are not negative
    if (row.to == kU16 && row.dims.back() > 100) c.exception = "is off by up to 55 of 65536 steps (runtime 2.51)";
    if (row.other_encoding) c.exception = "gives codes as if the offset were 0 (U8) or 128 (S8), whatever it is (runtime 2.51)";
    cases.push_back(std::move(c));
  }
}

// -------------------------------------------------------------------------------------------------------------------- norms

struct NormRow {
  const char* op;
  DT x, gamma;
  DT beta;  // kUndefined: none
  Dims dims;
  double mean = 0.4;
  Words axes = {};  // empty: the last one
  bool computed = false;  // gamma and beta come at run time
};

constexpr DT kNone = DT::kUndefined;

const std::vector<NormRow>& norm_rows() {
  static const std::vector<NormRow> rows = {
      {"LayerNorm", kF16, kF16, kF16, {128, 576}},
      {"LayerNorm", kF16, kF16, kF16, {1, 4, 16, 32}},
      {"LayerNorm", kF16, kF16, kF16, {7, 33}},
      {"LayerNorm", kF16, kF16, kF16, {2, 5, 47}, -1},
      {"LayerNorm", kF16, kF16, kNone, {16, 64}},
      {"LayerNorm", kF16, kF16, kF16, {3, 4, 5, 16}, 0.4, {1, 2, 3}},
      {"LayerNorm", kF16, kF16, kF16, {16, 64}, 0.4, {}, true},
      {"LayerNorm", kF32, kF32, kF32, {1, 4, 16, 32}},
      {"LayerNorm", kU8, kU8, kS32, {128, 576}},
      {"LayerNorm", kU8, kU8, kS32, {1, 4, 16, 32}},
      {"LayerNorm", kU8, kU8, kU8, {7, 33}},
      {"LayerNorm", kU8, kU8, kNone, {16, 64}},
      {"LayerNorm", kS8, kS8, kS32, {1, 4, 16, 32}},
      {"LayerNorm", kU16, kU16, kS32, {128, 576}},
      {"LayerNorm", kU16, kU16, kS32, {1, 4, 16, 32}},
      {"LayerNorm", kU16, kU8, kS32, {7, 33}},
      {"LayerNorm", kU16, kS16, kU16, {16, 64}},
      {"LayerNorm", kU16, kU16, kNone, {16, 64}},
      {"RmsNorm", kF16, kF16, kNone, {16, 64}},
      {"RmsNorm", kF16, kF16, kF16, {1, 1, 16, 64}},
      {"RmsNorm", kF32, kF32, kNone, {7, 33}},
      {"RmsNorm", kF16, kF16, kNone, {1, 1, 32, 576}},
      {"RmsNorm", kF16, kF16, kNone, {16, 64}, 0.4, {}, true},
      {"RmsNorm", kU8, kU8, kS32, {128, 576}},
      {"RmsNorm", kU8, kU8, kS32, {1, 1, 16, 32}},
      {"RmsNorm", kU8, kU8, kU8, {7, 33}},
      {"RmsNorm", kU8, kU8, kNone, {16, 64}},
      {"RmsNorm", kU16, kU16, kS32, {128, 576}},
      {"RmsNorm", kU16, kU16, kS32, {9, 17, 32}},
      {"RmsNorm", kU16, kU8, kS32, {7, 33}},
      {"RmsNorm", kU16, kS16, kU16, {16, 64}},
      {"RmsNorm", kU16, kU16, kNone, {1, 4, 16, 32}},
      {"RmsNorm", kS16, kS16, kS32, {16, 64}},
      {"RmsNorm", kS16, kU8, kS32, {7, 33}},
  };
  return rows;
}

constexpr float kEpsilon = 1e-4f, kBetaStep = 0x1p-14f;

/// Gains of 16 bits and whatever is S16 have their zero in the middle, or Qualcomm's runtime refuses them.
Target norm_target(DT dtype, double clipped, bool is_vector = false) {
  return {dtype, dtype == kS16 || (is_vector && dtype == kU16) ? Fit::kSymmetric : Fit::kMinMax, clipped};
}

/// In the type of x, or S32.
size_t norm_vector(GraphSpec& g, const std::string& name, DT dtype, const Dims& dims, const std::vector<double>& values, bool computed) {
  if (dtype == kS32) return g.scaled_constant(name, kS32, dims, qnn::Encoding::scale_offset(kBetaStep, 0), values);
  const Target target = norm_target(dtype, 0, true);
  return computed ? g.input(name, target, dims, values) : g.constant(name, target, dims, values);
}

GraphSpec norm_graph(const NormRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const Words axes = row.axes.empty() ? last_axis(row.dims) : row.axes;
  Dims vector;
  for (const uint32_t axis : axes) vector.push_back(row.dims[axis]);
  const size_t length = element_count(vector);
  const size_t x = g.input("x", norm_target(row.x, 0.0005), row.dims, normal(g.random(), element_count(row.dims), row.mean));
  std::vector<size_t> inputs = {x, norm_vector(g, "gamma", row.gamma, vector, normal(g.random(), length, 1, 0.3), row.computed)};
  if (row.beta != kNone) inputs.push_back(norm_vector(g, "beta", row.beta, vector, normal(g.random(), length, 0.2, 0.5), row.computed));
  const auto values_of = [&](size_t i) {
    if (i >= inputs.size()) return std::vector<double>(length, 0);
    std::vector<double> values = reference::reals(g.tensor(inputs[i]));
    if (g.tensor(inputs[i]).dtype == kS32) std::transform(values.begin(), values.end(), values.begin(), [](double code) { return code * double{kBetaStep}; });
    return values;
  };
  const std::vector<double> gamma = values_of(1), beta = values_of(2);
  const bool centres = std::string_view(row.op) == "LayerNorm";
  std::vector<double> y = reference::map_groups(g.tensor(x), axes, [&](std::vector<double> values) {
    const auto count = static_cast<double>(values.size());
    double mean = 0, squares = 0;
    for (const double v : values) mean += centres ? v / count : 0;
    for (const double v : values) squares += (v - mean) * (v - mean) / count;
    for (size_t i = 0; i < values.size(); ++i) values[i] = (values[i] - mean) / std::sqrt(squares + double{kEpsilon}) * gamma[i] + beta[i];
    return values;
  });
  g.output(g.apply(row.op, inputs, {qnn::ParamDesc::f32("epsilon", kEpsilon), axes_param(axes)}, {"y", norm_target(row.x, 0.0005), row.dims, std::move(y)}));
  return g;
}

void add_norms(std::vector<Case>& cases) {
  for (const NormRow& row : norm_rows()) {
    std::string name = std::string(row.op) + "_" + short_name(row.x) + "_by_" + short_name(row.gamma) + (row.beta == kNone ? "" : "_" + short_name(row.beta)) + "_" + shape_name(row.dims);
    if (!row.axes.empty()) name += "_axes" + shape_name(row.axes);
    if (row.computed) name += "_computed";
    Case c{name, usual_bound(row.x), [&row](uint32_t seed) { return norm_graph(row, seed); }};
    if (row.x == kU16 || row.x == kS16) c.qualcomm = Bound::kLinear16;
    if (std::string_view(row.op) == "RmsNorm" && is_float(row.x) && row.beta != kNone) c.exception = "leaves the beta of a float RmsNorm out (runtime 2.51)";
    cases.push_back(std::move(c));
  }
}

struct L2Row {
  DT dtype;
  Dims dims;
  Words axes;
  float epsilon = 0;
};

const std::vector<L2Row>& l2_rows() {
  static const std::vector<L2Row> rows = {
      {kF16, {1, 4, 16, 32}, {3}}, {kF32, {1, 4, 16, 32}, {3}}, {kU8, {1, 4, 16, 32}, {3}},  {kS8, {1, 4, 16, 32}, {3}},    {kU16, {1, 4, 16, 32}, {3}},  {kS16, {1, 4, 16, 32}, {3}},
      {kF16, {7, 33}, {1}},        {kF16, {1, 4, 16, 32}, {1}}, {kF16, {1, 4, 16, 32}, {2}}, {kF16, {1, 4, 16, 32}, {2, 3}}, {kF16, {16, 32}, {1}, 40.0f}, {kU8, {7, 33}, {1}},
  };
  return rows;
}

GraphSpec l2_graph(const L2Row& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = g.input("x", {row.dtype, Fit::kMinMax, 0.0005}, row.dims, normal(g.random(), element_count(row.dims), 0.2));
  std::vector<double> y = reference::map_groups(g.tensor(x), row.axes, [&](std::vector<double> values) {
    double squares = 0;
    for (const double v : values) squares += v * v;
    for (double& v : values) v /= std::sqrt(std::max(squares, double{row.epsilon}));
    return values;
  });
  Params params = {axes_param(row.axes)};
  if (row.epsilon != 0) params.push_back(qnn::ParamDesc::f32("epsilon", row.epsilon));
  g.output(g.apply("L2Norm", {x}, params, {"y", {row.dtype, Fit::kMinMax}, row.dims, std::move(y)}));
  return g;
}

void add_l2_norms(std::vector<Case>& cases) {
  for (const L2Row& row : l2_rows()) {
    const std::string name = "L2Norm_" + short_name(row.dtype) + "_" + shape_name(row.dims) + "_axes" + shape_name(row.axes) + (row.epsilon == 0 ? "" : "_epsilon");
    Case c{name, usual_bound(row.dtype), [&row](uint32_t seed) { return l2_graph(row, seed); }};
    if (row.dtype == kU16 || row.dtype == kS16) c.qualcomm = Bound::kLinear16;
    if (row.dtype == kU8 && row.dims.size() == 4) c.exception = "is a step off in 51 % of the elements (runtime 2.51)";
    cases.push_back(std::move(c));
  }
}

}  // namespace

void add_norm_cases(std::vector<Case>& cases) {
  add_softmax(cases);
  add_norms(cases);
  add_l2_norms(cases);
}

}  // namespace lutra::conformance
