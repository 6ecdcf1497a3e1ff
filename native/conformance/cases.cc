#include "conformance/cases.h"

#include <algorithm>
#include <cmath>

#include "conformance/dtypes.h"

namespace lutra::conformance {
namespace {

constexpr Fit kNone = Fit::kNone, kMinMax = Fit::kMinMax, kSymmetric = Fit::kSymmetric;

// ------------------------------------------------------------------------------------------------------------------ linears

enum class Op { kFullyConnected, kConv, kConvOnly };  // kConv: between the Reshapes that a plan puts around it

struct LinearRow {
  Op op;
  DT dtype;
  Fit x, y;
  uint32_t rows, in, out;
  bool bias = false;
  const char* exception = "";
};

constexpr const char* kUnalignedHalfs = "wrong in outputs 32 and up when the input length of an F16 linear is no multiple of 4 (runtime 2.51)";

constexpr Op kFc = Op::kFullyConnected, kConv = Op::kConv;

constexpr LinearRow kLinears[] = {
    // Shapes of SmolLM2-135M: q and o, k and v, gate and up, down.
    {kFc, kU8, kMinMax, kMinMax, 128, 576, 576},
    {kFc, kU8, kMinMax, kMinMax, 128, 576, 192},
    {kFc, kU8, kMinMax, kMinMax, 128, 576, 1536},
    {kFc, kU8, kMinMax, kMinMax, 128, 1536, 576},
    {kFc, kU16, kMinMax, kMinMax, 128, 576, 576},
    {kFc, kU16, kMinMax, kMinMax, 128, 576, 192},
    {kFc, kU16, kMinMax, kMinMax, 128, 576, 1536},
    {kFc, kU16, kMinMax, kMinMax, 128, 1536, 576},
    {kFc, kF16, kNone, kNone, 128, 576, 576},
    {kFc, kF16, kNone, kNone, 128, 576, 192},
    {kFc, kF16, kNone, kNone, 128, 576, 1536},
    {kFc, kF16, kNone, kNone, 128, 1536, 576},
    {kConv, kU8, kMinMax, kMinMax, 128, 576, 576},
    {kConv, kU8, kMinMax, kMinMax, 128, 576, 192},
    {kConv, kU8, kMinMax, kMinMax, 128, 1536, 576},
    {kConv, kS8, kSymmetric, kMinMax, 128, 576, 576},
    {kConv, kS8, kSymmetric, kMinMax, 128, 576, 192},
    {kConv, kS8, kSymmetric, kMinMax, 128, 576, 1536},
    {kConv, kS8, kSymmetric, kMinMax, 128, 1536, 576},
    {kConv, kU16, kMinMax, kMinMax, 128, 576, 192},
    // Other encodings.
    {kFc, kU8, kSymmetric, kSymmetric, 32, 576, 192},
    {kFc, kS8, kSymmetric, kSymmetric, 32, 576, 192},
    {kFc, kS8, kMinMax, kMinMax, 32, 576, 192},
    {kConv, kU8, kSymmetric, kSymmetric, 32, 576, 192},
    {kConv, kS8, kSymmetric, kSymmetric, 32, 1536, 576},
    {kFc, kU16, kSymmetric, kSymmetric, 32, 1536, 192},
    // Odd and small shapes.
    {kFc, kU8, kMinMax, kMinMax, 1, 576, 576},
    {kFc, kU8, kMinMax, kMinMax, 7, 96, 33},
    {kFc, kU8, kMinMax, kMinMax, 13, 33, 5},
    {kFc, kU8, kMinMax, kMinMax, 8, 64, 160},
    {kFc, kU8, kMinMax, kMinMax, 67, 130, 259},
    {kFc, kU16, kMinMax, kMinMax, 1, 576, 192},
    {kFc, kU16, kMinMax, kMinMax, 5, 47, 31},
    {kFc, kU16, kMinMax, kMinMax, 8, 64, 160},
    {kFc, kU16, kMinMax, kMinMax, 67, 130, 259},
    {kFc, kF16, kNone, kNone, 1, 576, 192},
    {kFc, kF16, kNone, kNone, 5, 47, 31},
    {kFc, kF16, kNone, kNone, 67, 132, 259},
    {kFc, kF16, kNone, kNone, 67, 130, 259, false, kUnalignedHalfs},
    {kConv, kU8, kMinMax, kMinMax, 7, 96, 33},
    {kConv, kU8, kMinMax, kMinMax, 8, 64, 32},
    {kConv, kS8, kSymmetric, kMinMax, 1, 576, 192},
    {kConv, kS8, kSymmetric, kMinMax, 5, 47, 31},
    {kConv, kS8, kSymmetric, kMinMax, 67, 130, 259},
    {kConv, kU16, kMinMax, kMinMax, 5, 47, 31},
    {kConv, kU16, kMinMax, kMinMax, 67, 130, 259},
    // Without the Reshapes, and with a bias.
    {Op::kConvOnly, kU8, kMinMax, kMinMax, 32, 576, 192},
    {Op::kConvOnly, kS8, kSymmetric, kMinMax, 32, 576, 192},
    {Op::kConvOnly, kU16, kMinMax, kMinMax, 32, 576, 192},
    {kFc, kU8, kMinMax, kMinMax, 32, 576, 192, true},
    {kFc, kS8, kSymmetric, kSymmetric, 32, 576, 192, true},
    {kFc, kU16, kMinMax, kMinMax, 32, 576, 192, true},
    {kFc, kF16, kNone, kNone, 32, 576, 192, true},
    {Op::kConvOnly, kU8, kMinMax, kMinMax, 32, 576, 192, true},
};

/// Inputs have a mean, so that a zero point in the wrong place shows, and a few of them are clipped, as are a few outputs.
GraphSpec linear_graph(const LinearRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const double mean = row.x == kMinMax ? 0.4 : 0;
  const std::vector<double> values = normal(g.random(), size_t{row.rows} * row.in, mean);
  const Target in{row.dtype, row.x, 0.0005}, out{row.dtype, row.y, 0.001};
  const bool conv = row.op != kFc, reshapes = row.op == kConv;
  size_t x = g.input("x", in, conv && !reshapes ? Dims{1, 1, row.rows, row.in} : Dims{row.rows, row.in}, values);
  const size_t w = g.weight("w", row.out, row.in, conv);
  const std::optional<size_t> bias = row.bias ? std::optional(g.bias("b", x, w)) : std::nullopt;
  if (reshapes) x = g.reshape(x, {1, 1, row.rows, row.in}, "x4");
  size_t y = g.linear(x, w, "y", out, bias);
  if (reshapes) y = g.reshape(y, {row.rows, row.out}, "y2");
  g.output(y);
  return g;
}

Bound linear_bound(DT dtype) { return dtype == kF16 ? Bound::kFloat : dtype == kU16 ? Bound::kLinear16 : Bound::kLinear8; }

std::string fit_name(Fit fit) { return fit == kMinMax ? "minmax" : fit == kSymmetric ? "symmetric" : "plain"; }

void add_linears(std::vector<Case>& cases) {
  for (const LinearRow& row : kLinears) {
    std::string name = row.op == kFc ? "FullyConnected" : row.op == kConv ? "ReshapeConv2dReshape" : "Conv2d";
    name += "_" + short_name(row.dtype) + (row.bias ? "_bias" : "") + "_" + shape_name({row.rows, row.in}) + "_" + std::to_string(row.out);
    if (row.x != kNone) name += "_" + fit_name(row.x) + "_" + fit_name(row.y);
    cases.push_back({name, linear_bound(row.dtype), [&row](uint32_t seed) { return linear_graph(row, seed); }, false, row.exception});
  }
}

// ------------------------------------------------------------------------------------------------- between floats and integers

struct ConvertRow {
  const char* op;  // Quantize, Dequantize or Convert
  DT from;
  Fit fit;
  DT to;
  Fit to_fit;
  Dims dims;
};

const ConvertRow kConverts[] = {
    {"Quantize", kF16, kNone, kU8, kMinMax, {128, 576}},
    {"Quantize", kF16, kNone, kU8, kSymmetric, {128, 1536}},
    {"Quantize", kF16, kNone, kU8, kMinMax, {7, 33}},
    {"Quantize", kF16, kNone, kS8, kSymmetric, {128, 576}},
    {"Quantize", kF16, kNone, kS8, kSymmetric, {128, 1536}},
    {"Quantize", kF16, kNone, kS8, kMinMax, {1, 577}},
    {"Quantize", kF16, kNone, kU16, kMinMax, {128, 576}},
    {"Quantize", kF16, kNone, kU16, kMinMax, {128, 1536}},
    {"Quantize", kF16, kNone, kU16, kSymmetric, {5, 47}},
    {"Quantize", kF32, kNone, kU8, kMinMax, {128, 576}},
    {"Quantize", kF32, kNone, kS8, kSymmetric, {128, 576}},
    {"Quantize", kF32, kNone, kU16, kMinMax, {128, 576}},
    {"Dequantize", kU8, kMinMax, kF16, kNone, {128, 1536}},
    {"Dequantize", kU8, kSymmetric, kF16, kNone, {7, 33}},
    {"Dequantize", kS8, kSymmetric, kF16, kNone, {128, 576}},
    {"Dequantize", kS8, kMinMax, kF16, kNone, {128, 576}},
    {"Dequantize", kU16, kMinMax, kF16, kNone, {128, 1536}},
    {"Dequantize", kU16, kSymmetric, kF16, kNone, {5, 47}},
    {"Dequantize", kU8, kMinMax, kF32, kNone, {128, 576}},
    {"Dequantize", kS8, kSymmetric, kF32, kNone, {128, 576}},
    {"Dequantize", kU16, kMinMax, kF32, kNone, {128, 576}},
    {"Convert", kU16, kMinMax, kU8, kMinMax, {128, 576}},
    {"Convert", kU8, kMinMax, kU16, kMinMax, {128, 576}},
    {"Convert", kU8, kMinMax, kU8, kSymmetric, {128, 576}},
    {"Convert", kF16, kNone, kF32, kNone, {128, 576}},
    {"Convert", kF32, kNone, kF16, kNone, {128, 576}},
};

GraphSpec convert_graph(const ConvertRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = g.input("x", {row.from, row.fit, 0.0005}, row.dims, normal(g.random(), element_count(row.dims), 0.3, 2));
  const Target target{row.to, row.to_fit, 0.002};
  const std::string op = row.op;
  g.output(op == "Quantize" ? g.quantize(x, "y", target) : op == "Dequantize" ? g.dequantize(x, "y", row.to) : g.convert(x, "y", target));
  return g;
}

Bound convert_bound(const ConvertRow& row) {
  if (is_float(row.to)) return Bound::kFloat;
  return row.to == kU16 ? Bound::kOther16 : Bound::kOther8;
}

void add_converts(std::vector<Case>& cases) {
  for (const ConvertRow& row : kConverts) {
    std::string name = std::string(row.op) + "_" + short_name(row.from) + "_" + short_name(row.to) + "_" + shape_name(row.dims);
    if (row.fit != kNone) name += "_" + fit_name(row.fit);
    if (row.to_fit != kNone) name += "_to_" + fit_name(row.to_fit);
    cases.push_back({name, convert_bound(row), [&row](uint32_t seed) { return convert_graph(row, seed); }});
  }
}

// ------------------------------------------------------------------------------------------------------------------- floats

enum class Data {
  kNormal,
  kWide,      // deviation 8: into the tails of a sigmoid
  kOutliers,  // one value of about 25,000 in every row, as the residual stream of a real model has
  kSmall,     // mean square near the epsilon of a norm
};

std::vector<double> float_data(std::mt19937& random, Data data, const Dims& dims) {
  const double deviation = data == Data::kWide ? 8 : data == Data::kSmall ? 0.004 : 1;
  std::vector<double> values = normal(random, element_count(dims), data == Data::kNormal ? 0.2 : 0, deviation);
  if (data == Data::kOutliers) {
    for (size_t row = 0; row * dims.back() < values.size(); ++row) values[row * dims.back() + row % dims.back()] = (row % 2 == 0 ? 25000 : -23800);
  }
  return values;
}

struct FloatRow {
  const char* op;
  DT dtype;
  Data data;
  Dims a;
  Dims b = {};  // of ops with two inputs
};

const FloatRow kFloats[] = {
    {"RmsNorm", kF16, Data::kNormal, {128, 576}},
    {"RmsNorm", kF16, Data::kOutliers, {128, 576}},
    {"RmsNorm", kF16, Data::kSmall, {128, 576}},
    {"RmsNorm", kF16, Data::kWide, {128, 1536}},
    {"RmsNorm", kF16, Data::kNormal, {1, 64}},
    {"RmsNorm", kF16, Data::kNormal, {7, 33}},
    {"RmsNorm", kF32, Data::kNormal, {128, 576}},
    {"ElementWiseAdd", kF16, Data::kNormal, {128, 576}, {128, 576}},
    {"ElementWiseAdd", kF16, Data::kOutliers, {128, 576}, {128, 576}},
    {"ElementWiseAdd", kF16, Data::kNormal, {7, 33}, {7, 33}},
    {"ElementWiseAdd", kF16, Data::kNormal, {128, 576}, {1, 576}},
    {"ElementWiseAdd", kF32, Data::kNormal, {128, 576}, {128, 576}},
    {"ElementWiseMultiply", kF16, Data::kNormal, {128, 1536}, {128, 1536}},
    {"ElementWiseMultiply", kF16, Data::kWide, {128, 1536}, {128, 1536}},
    {"ElementWiseMultiply", kF16, Data::kNormal, {7, 33}, {7, 33}},
    {"ElementWiseMultiply", kF16, Data::kNormal, {128, 576}, {1, 576}},
    {"ElementWiseMultiply", kF32, Data::kNormal, {128, 576}, {128, 576}},
    {"Sigmoid", kF16, Data::kNormal, {128, 1536}},
    {"Sigmoid", kF16, Data::kWide, {128, 1536}},
    {"Sigmoid", kF16, Data::kNormal, {7, 33}},
    {"Sigmoid", kF32, Data::kNormal, {128, 576}},
    {"Relu", kF16, Data::kNormal, {128, 1536}},
    {"Relu", kF16, Data::kNormal, {7, 33}},
    {"Relu", kF32, Data::kNormal, {128, 576}},
};

GraphSpec float_graph(const FloatRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const std::string op = row.op;
  const Dims vector{row.a.back()};
  const size_t x = g.input("x", {row.dtype}, row.a, float_data(g.random(), row.data, row.a));
  if (op == "RmsNorm") {
    const size_t gamma = g.constant("gamma", row.dtype, vector, normal(g.random(), row.a.back(), 1, 0.2));
    const size_t beta = g.constant("beta", row.dtype, vector, std::vector<double>(row.a.back()));
    g.output(g.rms_norm(x, gamma, beta, "y"));
  } else if (row.b.empty()) {
    g.output(g.unary(op, x, "y"));
  } else {
    const std::vector<double> values = float_data(g.random(), row.data == Data::kOutliers ? Data::kNormal : row.data, row.b);
    // A vector that is repeated is a constant of the model.
    const size_t other = row.b == row.a ? g.input("z", {row.dtype}, row.b, values) : g.constant("z", row.dtype, row.b, values);
    g.output(g.binary(op, x, other, "y"));
  }
  return g;
}

void add_floats(std::vector<Case>& cases) {
  static constexpr const char* kNames[] = {"", "_wide", "_outliers", "_small"};
  for (const FloatRow& row : kFloats) {
    std::string name = std::string(row.op) + "_" + short_name(row.dtype) + "_" + shape_name(row.a) + kNames[static_cast<size_t>(row.data)];
    if (!row.b.empty() && row.b != row.a) name += "_by_" + shape_name(row.b);
    const Bound bound = std::string(row.op) == "Relu" && row.dtype == kF16 ? Bound::kExact : Bound::kFloat;
    cases.push_back({name, bound, [&row](uint32_t seed) { return float_graph(row, seed); }, row.data == Data::kOutliers});
  }
}

// ------------------------------------------------------------------------------------------------------------- data movement

struct ReshapeRow {
  DT dtype;
  Dims from, to;
};

const ReshapeRow kReshapes[] = {
    {kU8, {128, 576}, {1, 1, 128, 576}},  {kU8, {1, 1, 128, 192}, {128, 192}},  {kS8, {128, 1536}, {1, 1, 128, 1536}}, {kS8, {1, 1, 128, 576}, {128, 576}},
    {kU16, {128, 576}, {1, 1, 128, 576}}, {kU16, {1, 1, 7, 33}, {7, 33}},       {kU8, {7, 33}, {1, 1, 7, 33}},         {kF16, {128, 576}, {1, 1, 128, 576}},
    {kF16, {12, 35}, {3, 4, 5, 7}},
};

struct GatherRow {
  DT dtype, index;
  int32_t axis;
  Dims x;
  uint32_t count;
};

const GatherRow kGathers[] = {
    {kF16, kI32, 1, {128, 576}, 16}, {kF16, kI32, 0, {128, 576}, 5}, {kU8, kI32, 1, {128, 576}, 16},
    {kS8, kI32, 1, {128, 576}, 16},  {kU16, kI32, 1, {7, 33}, 9},    {kF16, kU32, 1, {128, 576}, 16},
};

GraphSpec reshape_graph(const ReshapeRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = g.input("x", {row.dtype, kMinMax, 0.001}, row.from, normal(g.random(), element_count(row.from), 0.3));
  g.output(g.reshape(x, row.to, "y"));
  return g;
}

GraphSpec gather_graph(const GatherRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const size_t x = g.input("x", {row.dtype, kMinMax, 0.001}, row.x, normal(g.random(), element_count(row.x), 0.3));
  std::vector<double> indices(row.count);
  std::uniform_int_distribution<uint32_t> index(0, row.x[static_cast<size_t>(row.axis)] - 1);
  for (double& i : indices) i = index(g.random());
  g.output(g.gather(x, g.constant("indices", row.index, {row.count}, indices), row.axis, "y"));
  return g;
}

void add_movements(std::vector<Case>& cases) {
  for (const ReshapeRow& row : kReshapes) {
    cases.push_back({"Reshape_" + short_name(row.dtype) + "_" + shape_name(row.from) + "_to_" + shape_name(row.to), Bound::kExact,
                     [&row](uint32_t seed) { return reshape_graph(row, seed); }});
  }
  for (const GatherRow& row : kGathers) {
    cases.push_back({"Gather_" + short_name(row.dtype) + "_by_" + short_name(row.index) + "_" + shape_name(row.x) + "_axis" + std::to_string(row.axis),
                     Bound::kExact, [&row](uint32_t seed) { return gather_graph(row, seed); }});
  }
}

}  // namespace

GraphSpec Case::graph() const {
  uint32_t seed = 2166136261u;  // FNV-1a
  for (const char c : name) seed = (seed ^ static_cast<uint8_t>(c)) * 16777619u;
  return build(seed);
}

Bound usual_bound(DT dtype) {
  switch (dtype) {
    case kF16:
    case kF32: return Bound::kFloat;
    case kU8:
    case kS8: return Bound::kOther8;
    case kU16:
    case kS16: return Bound::kOther16;
    default: return Bound::kExact;
  }
}

std::string shape_name(const Dims& dims) {
  std::string text;
  for (const uint32_t dim : dims) text.append(text.empty() ? "" : "x").append(std::to_string(dim));
  return text;
}

Expected Case::expected_of(const Subject& subject) const {
  if (subject.host) return host_takes.empty() ? expected : Expected::kOk;
  return subject.arch < oldest_arch ? Expected::kRefused : expected;
}

Bound Case::bound_of(const Subject& subject) const {
  if (subject.host) return bound;
  const Bound newer = qualcomm.value_or(bound);
  if (subject.arch >= 73) return newer;
  // Sums of 16-bit activations are rounded to 16 bits on the way, those of 8-bit ones are scaled less exactly.
  if (newer == Bound::kTable16) return Bound::kTable16Loose;
  if (bound == Bound::kLinear8 && newer == bound) return Bound::kLinear8Old;
  if (bound == Bound::kLinear16) return newer == Bound::kTable16Loose ? newer : Bound::kSteps34;
  return newer;
}

namespace {

/// Beginnings of the names of cases that DSPs before v73 refuse.
constexpr const char* kFromV73[] = {
    "Convert_f16_f32", "Convert_f32_f16", "RmsNorm_f32", "RmsNorm_rows_f32", "ElementWiseAtan_f32", "ElementWiseRound_f32", "Elu_f32", "Gelu_f32", "ElementWiseSelect_f32", "GatherElements_by_s32_axis3_f32",
    "ScatterNd_3rows_f32", "ScatterElements_by_s32_axis3_f32", "LayerNorm_u16_by_u16", "LayerNorm_u16_by_s16", "L2Norm_f32", "CumulativeSum_f16", "CumulativeSum_f32",
    "MatMul_u16_u16", "MatMul_u16_s16", "MatMul_s16_s16", "Conv2d_u16_s16",
};

bool needs_v73(const Case& c) {
  return std::any_of(std::begin(kFromV73), std::end(kFromV73), [&c](const char* begin) { return c.name.starts_with(begin); });
}

}  // namespace

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_linears(cases);
  add_converts(cases);
  add_floats(cases);
  add_movements(cases);
  add_elementwise_cases(cases);
  add_shape_cases(cases);
  add_cast_cases(cases);
  add_linear_cases(cases);
  add_norm_cases(cases);
  add_reduce_cases(cases);
  add_spatial_cases(cases);
  add_trap_cases(cases);
  add_refused_cases(cases);
  for (Case& c : cases) {
    if (needs_v73(c)) c.oldest_arch = 73;
  }
  return cases;
}

}  // namespace lutra::conformance
