// Over or along axes: reductions, extremes and their places, running sums, the Hadamard transform.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "base/f16.h"
#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

using Words = std::vector<uint32_t>;
using Params = std::vector<qnn::ParamDesc>;

/// Normal numbers that depend on each index, so that no reduction makes them alike; whole ones for integers, F16's own for floats, since F32 is computed in F16.
std::vector<double> uneven(std::mt19937& random, DT dtype, const Dims& dims) {
  std::vector<double> values = normal(random, element_count(dims), 0.2);
  std::vector<std::vector<double>> shifts;
  for (const uint32_t dim : dims) shifts.push_back(normal(random, dim));
  size_t i = 0;
  reference::for_each_index(dims, [&](const reference::Index& index) {
    for (size_t d = 0; d < dims.size(); ++d) values[i] += shifts[d][index[d]];
    double& v = values[i++];
    v = is_float(dtype) ? f16_to_f32(f32_to_f16(static_cast<float>(v))) : is_quantized(dtype) ? v : std::nearbyint(40 * v);
  });
  return values;
}

size_t input(GraphSpec& g, DT dtype, const Dims& dims) { return g.input("x", {dtype, Fit::kMinMax, 0.0}, dims, uneven(g.random(), dtype, dims)); }

// ------------------------------------------------------------------------------------------------------------- reductions

struct ReduceOp {
  const char* name;
  double (*fold)(std::span<const double>);
};

double sum_of(std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0); }

constexpr ReduceOp kReduceOps[] = {
    {"ReduceMean", [](std::span<const double> x) { return sum_of(x) / static_cast<double>(x.size()); }},
    {"ReduceSum", sum_of},
    {"ReduceMax", [](std::span<const double> x) { return *std::max_element(x.begin(), x.end()); }},
    {"ReduceMin", [](std::span<const double> x) { return *std::min_element(x.begin(), x.end()); }},
};

struct ReduceShape {
  Dims dims;
  Words axes;
  bool keep_dims;
  std::vector<DT> types;
};

const std::vector<ReduceShape>& reduce_shapes() {
  static const std::vector<ReduceShape> shapes = {
      {{1, 4, 16, 32}, {3}, true, {kF16, kF32, kU8, kS8, kU16, kS16, kI32}},
      {{1, 4, 16, 32}, {3}, false, {kF16, kU8}},
      {{1, 4, 16, 32}, {1}, true, {kF16, kU8, kU16}},
      {{1, 6, 7, 33}, {1, 2}, false, {kF16, kU8}},
      {{2, 5, 47}, {1}, false, {kF16, kU8}},
      {{2, 8, 6, 40}, {0, 3}, true, {kF16}},
      {{2, 7, 33}, {0, 1, 2}, false, {kF16, kU8}},
      {{128, 576}, {1}, true, {kF16}},
  };
  return shapes;
}

GraphSpec reduce_graph(const ReduceOp& op, const ReduceShape& shape, DT dtype, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = input(g, dtype, shape.dims);
  std::vector<double> y = reference::fold(g.tensor(x), shape.axes, op.fold);
  const Params params = {qnn::ParamDesc::tensor("axes", {static_cast<uint32_t>(shape.axes.size())}, shape.axes), qnn::ParamDesc::boolean("keep_dims", shape.keep_dims)};
  g.output(g.apply(op.name, {x}, params, {"y", {dtype, Fit::kMinMax}, reference::folded_dims(shape.dims, shape.axes, shape.keep_dims), std::move(y)}));
  return g;
}

bool takes(const char* op, DT dtype) {
  if (dtype == kI32) return std::string_view(op) != "ReduceMean";
  return dtype != kS16 || std::string_view(op) != "ReduceMin";
}

void add_reductions(std::vector<Case>& cases) {
  for (const ReduceOp& op : kReduceOps) {
    for (const ReduceShape& shape : reduce_shapes()) {
      for (const DT dtype : shape.types) {
        if (!takes(op.name, dtype)) continue;
        std::string name = std::string(op.name) + "_" + short_name(dtype) + "_" + shape_name(shape.dims) + "_axes" + shape_name(shape.axes) + (shape.keep_dims ? "_kept" : "");
        Case c{std::move(name), usual_bound(dtype), [&op, &shape, dtype](uint32_t seed) { return reduce_graph(op, shape, dtype, seed); }};
        if (dtype == kU16 || dtype == kS16) c.qualcomm = Bound::kLinear16;
        cases.push_back(std::move(c));
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------ extremes and places

struct ArgumentRow {
  const char* op;
  DT from, to;
  Dims dims;
  uint32_t axis;
  bool keep_dims;
};

const std::vector<ArgumentRow>& argument_rows() {
  static const std::vector<ArgumentRow> rows = [] {
    std::vector<ArgumentRow> list;
    for (const char* op : {"Argmax", "Argmin"}) {
      for (const DT dtype : {kF16, kF32, kU8, kS8, kU16}) list.push_back({op, dtype, kI32, {1, 4, 16, 32}, 3, true});
      for (const DT dtype : {kU8, kU16}) list.push_back({op, dtype, kU32, {1, 4, 16, 32}, 3, false});
      for (const DT dtype : {kF16, kU8}) list.push_back({op, dtype, kI32, {1, 5, 7, 33}, 1, true});
      list.push_back({op, kF16, kI32, {7, 130}, 1, false});
      list.push_back({op, kF16, kI32, {3, 9, 20}, 1, false});
    }
    list.push_back({"Argmax", kI32, kI32, {1, 4, 16, 32}, 3, true});
    list.push_back({"Argmax", kU32, kU32, {7, 33}, 1, false});
    return list;
  }();
  return rows;
}

GraphSpec argument_graph(const ArgumentRow& row, uint32_t seed) {
  GraphSpec g(seed);
  std::vector<double> values = uneven(g.random(), row.from, row.dims);
  if (row.from == kU32) std::transform(values.begin(), values.end(), values.begin(), [](double v) { return std::abs(v); });
  const size_t x = g.input("x", {row.from, Fit::kMinMax, 0.0}, row.dims, values);
  const bool largest = std::string_view(row.op) == "Argmax";
  std::vector<double> y = reference::fold(g.tensor(x), Words{row.axis}, [&](std::span<const double> line) {
    const auto place = largest ? std::max_element(line.begin(), line.end()) : std::min_element(line.begin(), line.end());
    return static_cast<double>(place - line.begin());
  });
  const Params params = {qnn::ParamDesc::u32("axis", row.axis), qnn::ParamDesc::boolean("keep_dims", row.keep_dims)};
  g.output(g.apply(row.op, {x}, params, {"y", {row.to}, reference::folded_dims(row.dims, Words{row.axis}, row.keep_dims), std::move(y)}));
  return g;
}

void add_arguments(std::vector<Case>& cases) {
  for (const ArgumentRow& row : argument_rows()) {
    std::string name = std::string(row.op) + "_" + short_name(row.from) + "_" + short_name(row.to) + "_" + shape_name(row.dims) + "_axis" + std::to_string(row.axis) + (row.keep_dims ? "_kept" : "");
    cases.push_back({std::move(name), Bound::kExact, [&row](uint32_t seed) { return argument_graph(row, seed); }});
  }
}

struct TopKRow {
  DT dtype, index;
  Dims dims;
  uint32_t k;
  bool largest = true;
};

const std::vector<TopKRow>& top_k_rows() {
  static const std::vector<TopKRow> rows = {
      {kF16, kI32, {1, 4, 16, 32}, 5},        {kF32, kI32, {1, 4, 16, 32}, 5}, {kU8, kI32, {1, 4, 16, 32}, 5}, {kS8, kI32, {1, 4, 16, 32}, 5}, {kU16, kI32, {1, 4, 16, 32}, 5},
      {kI32, kI32, {1, 4, 16, 32}, 5},        {kF16, kU32, {7, 33}, 1},        {kU8, kU32, {7, 33}, 33},       {kF16, kU32, {3, 300}, 8},      {kF16, kI32, {7, 33}, 4, false},
      {kU8, kI32, {1, 4, 16, 32}, 3, false},
  };
  return rows;
}

/// Of equal values the later one comes first, there as here.
GraphSpec top_k_graph(const TopKRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = input(g, row.dtype, row.dims);
  const std::vector<double> values = reference::reals(g.tensor(x));
  std::vector<double> best, places;
  const uint32_t columns = row.dims.back();
  for (size_t begin = 0; begin < values.size(); begin += columns) {
    Words order(columns);
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      const double left = values[begin + a], right = values[begin + b];
      return left != right ? (left > right) == row.largest : a > b;
    });
    for (uint32_t i = 0; i < row.k; ++i) {
      best.push_back(values[begin + order[i]]);
      places.push_back(order[i]);
    }
  }
  Dims dims = row.dims;
  dims.back() = row.k;
  const Params params = {qnn::ParamDesc::u32("k", row.k), qnn::ParamDesc::boolean("largest", row.largest)};
  std::vector<Output> outputs = {{"values", {row.dtype}, dims, std::move(best), x}, {"places", {row.index}, dims, std::move(places)}};
  for (const size_t y : g.apply("TopK", {x}, params, std::move(outputs))) g.output(y);
  return g;
}

void add_top_k(std::vector<Case>& cases) {
  for (const TopKRow& row : top_k_rows()) {
    std::string name = "TopK" + std::to_string(row.k) + (row.largest ? "_" : "_smallest_") + short_name(row.dtype) + "_" + short_name(row.index) + "_" + shape_name(row.dims);
    Case c{std::move(name), Bound::kExact, [&row](uint32_t seed) { return top_k_graph(row, seed); }};
    c.saturates = true;  // the values are the extremes
    c.span = 0.3;
    if (row.dtype == kF32) c.qualcomm = Bound::kFloat;
    cases.push_back(std::move(c));
  }
}

// -------------------------------------------------------------------------------------------- running sums, Hadamard transform

struct SumRow {
  DT dtype;
  Dims dims;
  uint32_t axis;
  bool exclusive = false, reverse = false;
  const char* exception = "";
  bool only_host = false;
};

constexpr const char* kOtherAxis = "begins U8 sums along another axis than the last with the lowest code instead of zero (runtime 2.51)";
constexpr const char* kNoFinalize = "validates but does not finalize: error 1002 (runtime 2.51)";

const std::vector<SumRow>& sum_rows() {
  static const std::vector<SumRow> rows = {
      {kF16, {1, 4, 16, 32}, 3},        {kF32, {1, 4, 16, 32}, 3},           {kU8, {1, 4, 16, 32}, 3},
      {kU16, {1, 4, 16, 32}, 3},        {kI32, {1, 4, 16, 32}, 3},           {kF16, {1, 4, 16, 32}, 2},
      {kU16, {1, 4, 16, 32}, 1},        {kI32, {1, 4, 16, 32}, 1},           {kU8, {1, 4, 16, 32}, 2, false, false, kOtherAxis},
      {kF16, {7, 33}, 1},               {kI32, {5, 300}, 1, true, false},    {kI32, {5, 300}, 1, false, true},
      {kI32, {5, 7}, 0, true, true},    {kU8, {5, 33}, 1, true, false},      {kU8, {5, 33}, 1, false, true},
      {kU16, {5, 33}, 1, true, true},   {kF16, {5, 33}, 1, true, true, kNoFinalize, true},
  };
  return rows;
}

GraphSpec sum_graph(const SumRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = input(g, row.dtype, row.dims);
  std::vector<double> y = reference::map_groups(g.tensor(x), Words{row.axis}, [&](std::vector<double> line) {
    if (row.reverse) std::reverse(line.begin(), line.end());
    double sum = 0;
    for (double& v : line) {
      const double before = sum;
      sum += v;
      v = row.exclusive ? before : sum;
    }
    if (row.reverse) std::reverse(line.begin(), line.end());
    return line;
  });
  const Params params = {qnn::ParamDesc::u32("axis", row.axis), qnn::ParamDesc::boolean("exclusive", row.exclusive), qnn::ParamDesc::boolean("reverse", row.reverse)};
  g.output(g.apply("CumulativeSum", {x}, params, {"y", {row.dtype, Fit::kMinMax}, row.dims, std::move(y)}));
  return g;
}

void add_sums(std::vector<Case>& cases) {
  for (const SumRow& row : sum_rows()) {
    std::string name = "CumulativeSum_" + short_name(row.dtype) + "_" + shape_name(row.dims) + "_axis" + std::to_string(row.axis) + (row.exclusive ? "_exclusive" : "") + (row.reverse ? "_reverse" : "");
    Case c{std::move(name), usual_bound(row.dtype), [&row](uint32_t seed) { return sum_graph(row, seed); }, false, row.exception};
    c.only_host = row.only_host;
    if (row.dtype == kU16) c.qualcomm = Bound::kSteps5;
    if (row.dtype == kU8 && c.exception.empty()) c.exception = "rounds every sum to 8 bits before the next: up to 4 steps (runtime 2.51)";
    cases.push_back(std::move(c));
  }
}

struct HadamardRow {
  DT dtype;
  Dims dims;
  float scale = 1;
};

const std::vector<HadamardRow>& hadamard_rows() {
  static const std::vector<HadamardRow> rows = {
      {kU16, {1, 1, 16, 64}}, {kS16, {1, 1, 16, 64}}, {kU16, {7, 128}}, {kU16, {3, 8}}, {kS16, {5, 512}}, {kU16, {1, 4, 16, 32}, 0.5f}, {kU16, {1, 256}, 2.0f},
  };
  return rows;
}

GraphSpec hadamard_graph(const HadamardRow& row, uint32_t seed) {
  GraphSpec g(seed);
  // Room in the range of x, at which Qualcomm's runtime cuts off what lies between x and y.
  std::vector<double> values = normal(g.random(), element_count(row.dims));
  values[0] = 10;
  const size_t x = g.input("x", {row.dtype, Fit::kSymmetric}, row.dims, values);
  std::vector<double> y = reference::map_groups(g.tensor(x), Words{static_cast<uint32_t>(row.dims.size() - 1)}, [&](const std::vector<double>& line) {
    std::vector<double> out(line.size());
    for (size_t i = 0; i < line.size(); ++i) {
      for (size_t k = 0; k < line.size(); ++k) out[i] += std::popcount(i & k) % 2 == 0 ? line[k] : -line[k];
      out[i] *= double{row.scale} / std::sqrt(static_cast<double>(line.size()));
    }
    return out;
  });
  Params params;
  if (row.scale != 1) params.push_back(qnn::ParamDesc::f32("scale", row.scale));
  g.output(g.apply("HadamardTransform", {x}, params, {"y", {row.dtype, Fit::kMinMax}, row.dims, std::move(y)}));
  return g;
}

void add_hadamard(std::vector<Case>& cases) {
  for (const HadamardRow& row : hadamard_rows()) {
    const std::string name = "HadamardTransform_" + short_name(row.dtype) + "_" + shape_name(row.dims) + (row.scale == 1 ? "" : "_scaled");
    Case c{name, usual_bound(row.dtype), [&row](uint32_t seed) { return hadamard_graph(row, seed); }};
    c.qualcomm = Bound::kTable16;  // rounded to 16 bits between the steps
    cases.push_back(std::move(c));
  }
}

}  // namespace

void add_reduce_cases(std::vector<Case>& cases) {
  add_reductions(cases);
  add_arguments(cases);
  add_top_k(cases);
  add_sums(cases);
  add_hadamard(cases);
}

}  // namespace lutra::conformance
