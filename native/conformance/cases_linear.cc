// Matrix products and convolutions beyond what plans emit: operands that are both computed, transposes, batches, groups, narrow weights.
#include <algorithm>
#include <cmath>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

constexpr const char* kAsymmetric = "16-bit activations by weights with a zero point are off by hundreds of steps (runtime 2.51)";
constexpr const char* kNoFinalize = "validates but does not finalize: error 1002 (runtime 2.51)";
constexpr const char* kGarbage2 = "16-bit activations by 2-bit weights are garbage on v68, and off by up to 48 of 65536 steps on later ones (runtime 2.51)";
constexpr const char* kBiasLost = "leaves the bias of a MatMul out (runtime 2.51)";
constexpr const char* kCrash = "a MatMul of fixed-point activations and a constant weight with a scale per output crashes without transpose_in1 (runtime 2.51)";

Target target_of(DT dtype, double clipped = 0.0005) { return {dtype, dtype == kS8 || dtype == kS16 ? Fit::kSymmetric : Fit::kMinMax, clipped}; }

bool is_16_bit(DT dtype) { return dtype == kU16 || dtype == kS16; }

/// What Qualcomm's runtime reaches with other weights than symmetric S8.
void qualify(Case& c, DT weight, Fit fit) {
  if (is_16_bit(weight)) c.qualcomm = Bound::kTable16;
  if (weight == kU8 && fit == Fit::kMinMax && c.bound == Bound::kLinear8) c.qualcomm = Bound::kOther8;
}

Bound bound_of(DT dtype) {
  if (is_float(dtype)) return Bound::kFloat;
  return dtype == kU16 || dtype == kS16 ? Bound::kLinear16 : Bound::kLinear8;
}

// ----------------------------------------------------------------------------------------------------------------- MatMul

enum class Weight { kComputed, kConstant, kPerOutput };

struct MatMulRow {
  DT x, w;
  Dims a, b;
  bool turn_a, turn_b;
  Weight weight = Weight::kComputed;
  Fit fit = Fit::kMinMax;  // of a quantised weight
  bool bias = false;
  const char* exception = "";
  bool only_host = false;
  bool says_transposes = true;  // has the parameters, also where they are false
};

const std::vector<MatMulRow>& matmul_rows() {
  static const std::vector<MatMulRow> rows = {
      // Attention: scores q · kᵀ and p · v, by heads.
      {kF16, kF16, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true},
      {kF16, kF16, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false},
      {kF32, kF32, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true},
      {kU8, kU8, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true},
      {kU8, kU8, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false},
      {kS8, kS8, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true, Weight::kComputed, Fit::kSymmetric},
      {kU16, kU8, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true, Weight::kComputed, Fit::kMinMax, false, kAsymmetric},
      {kU16, kU8, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true, Weight::kComputed, Fit::kSymmetric},
      {kU16, kU8, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric},
      {kU8, kU8, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric},
      {kU16, kU16, {1, 3, 32, 64}, {1, 3, 48, 64}, false, true, Weight::kComputed, Fit::kSymmetric},
      {kU16, kU16, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric},
      {kU16, kS8, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric},
      {kU16, kS16, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric, false, kNoFinalize, true},
      {kS16, kS16, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric, false, kNoFinalize, true},
      {kS16, kS8, {1, 3, 32, 48}, {1, 3, 48, 64}, false, false, Weight::kComputed, Fit::kSymmetric, false, kNoFinalize, true},
      // One head of keys for several of queries, one matrix for all.
      {kF16, kF16, {1, 4, 16, 32}, {1, 1, 24, 32}, false, true},
      {kU8, kU8, {1, 4, 16, 32}, {1, 1, 24, 32}, false, true},
      {kF16, kF16, {2, 16, 32}, {32, 24}, false, false},
      {kU8, kU8, {2, 16, 32}, {32, 24}, false, false},
      // The other transposes, odd shapes.
      {kF16, kF16, {1, 2, 32, 16}, {1, 2, 32, 24}, true, false},
      {kU8, kU8, {1, 2, 32, 16}, {1, 2, 32, 24}, true, false},
      {kU16, kU8, {1, 2, 32, 16}, {1, 2, 24, 32}, true, true, Weight::kComputed, Fit::kSymmetric},
      {kF16, kF16, {7, 36}, {36, 5}, false, false},
      {kU8, kU8, {17, 33}, {33, 35}, false, false, Weight::kComputed, Fit::kSymmetric},
      {kU8, kU8, {1, 1, 1, 64}, {1, 1, 64, 48}, false, false},
      // Constant weights.
      {kF16, kF16, {1, 1, 32, 64}, {64, 48}, false, false, Weight::kConstant},
      {kF32, kF32, {1, 1, 32, 64}, {64, 48}, false, false, Weight::kConstant},
      {kU8, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU8, kU8, {32, 64}, {64, 48}, false, false, Weight::kConstant},
      {kU8, kS8, {32, 64}, {48, 64}, false, true, Weight::kConstant, Fit::kSymmetric},
      {kU8, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric, true, kBiasLost},
      {kS8, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU16, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU16, kU8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kS16, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kS16, kS16, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU16, kU16, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU16, kS16, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kF16, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric},
      {kU8, kS8, {2, 3, 16, 32}, {2, 3, 32, 24}, false, false, Weight::kConstant, Fit::kSymmetric},
      {kU8, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric},
      {kS8, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric},
      {kU16, kS8, {32, 64}, {48, 64}, false, true, Weight::kPerOutput, Fit::kSymmetric},
      {kU8, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric, false, kCrash, true, false},
      {kS8, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric, false, kCrash, true, false},
      {kU16, kS8, {1, 1, 32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric, false, kCrash, true, false},
      {kF16, kS8, {32, 64}, {64, 48}, false, false, Weight::kPerOutput, Fit::kSymmetric, false, "", false, false},
      {kU8, kS8, {32, 64}, {64, 48}, false, false, Weight::kConstant, Fit::kSymmetric, false, "", false, false},
  };
  return rows;
}

Dims matmul_dims(const MatMulRow& row) {
  const size_t a = row.a.size(), b = row.b.size();
  Dims dims = reference::repeated_dims({row.a.begin(), row.a.end() - 2}, {row.b.begin(), row.b.end() - 2});
  dims.push_back(row.turn_a ? row.a[a - 1] : row.a[a - 2]);
  dims.push_back(row.turn_b ? row.b[b - 2] : row.b[b - 1]);
  return dims;
}

/// With a scale per output when `axis` is a dimension.
size_t random_weight(GraphSpec& g, const std::string& name, DT dtype, const Dims& dims, Fit fit, double deviation, bool constant, std::optional<size_t> axis = std::nullopt) {
  const std::vector<double> values = normal(g.random(), element_count(dims), fit == Fit::kMinMax ? 0.3 * deviation : 0, deviation);
  if (axis) return g.axis_constant(name, dims, *axis, values, 8);
  const Target target{dtype, fit, 0.0005};
  return constant ? g.constant(name, target, dims, values) : g.input(name, target, dims, values);
}

GraphSpec matmul_graph(const MatMulRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims = matmul_dims(row);
  const size_t depth = row.turn_a ? row.a[row.a.size() - 2] : row.a.back();
  const size_t x = g.input("x", target_of(row.x), row.a, normal(g.random(), element_count(row.a), 0.3));
  std::optional<size_t> axis;
  if (row.weight == Weight::kPerOutput) axis = row.b.size() - (row.turn_b ? 2 : 1);
  const size_t w = random_weight(g, "w", row.w, row.b, row.fit, 1 / std::sqrt(static_cast<double>(depth)), row.weight != Weight::kComputed, axis);
  std::vector<size_t> inputs = {x, w};
  std::optional<size_t> bias;
  if (row.bias) inputs.push_back(*(bias = g.sum_bias("b", x, w, dims.back())));
  std::vector<double> y = reference::matmul(g.tensor(x), g.tensor(w), row.turn_a, row.turn_b, bias ? &g.tensor(*bias) : nullptr, dims);
  const Target target = target_of(row.x, is_16_bit(row.w) ? 0 : 0.001);  // an NMSE would see what is clipped
  std::vector<qnn::ParamDesc> params;
  if (row.says_transposes) params = {qnn::ParamDesc::boolean("transpose_in0", row.turn_a), qnn::ParamDesc::boolean("transpose_in1", row.turn_b)};
  g.output(g.apply("MatMul", inputs, params, {"y", target, dims, y}));
  return g;
}

void add_matmuls(std::vector<Case>& cases) {
  for (const MatMulRow& row : matmul_rows()) {
    std::string name = "MatMul_" + short_name(row.x) + "_" + short_name(row.w) + "_" + shape_name(row.a) + (row.turn_a ? "t" : "") + "_" + shape_name(row.b) + (row.turn_b ? "t" : "");
    if (row.fit == Fit::kSymmetric) name += "_symmetric";
    if (row.weight != Weight::kComputed) name += row.weight == Weight::kConstant ? "_constant" : "_per_output";
    if (row.bias) name += "_bias";
    if (!row.says_transposes) name += "_no_params";
    Case c{name, bound_of(row.x), [&row](uint32_t seed) { return matmul_graph(row, seed); }, false, row.exception};
    c.only_host = row.only_host;
    if (row.exception == kCrash) c.remedy = "Give the parameter transpose_in1, also when it is false, or use FullyConnected.";
    qualify(c, row.w, row.fit);
    cases.push_back(std::move(c));
  }
}

// ----------------------------------------------------------------------------------------------------------- convolutions

struct ConvRow {
  const char* op;
  DT x, w;
  Dims image, filter;  // [n, h, w, c], [h, w, c / group, outputs]
  uint32_t group = 1;
  uint32_t stride_y = 1, stride_x = 1, dilation_y = 1, dilation_x = 1;
  std::vector<uint32_t> pad = {0, 0, 0, 0};  // top, bottom, left, right
  bool per_output = false, bias = false;
  const char* exception = "";
};

const std::vector<ConvRow>& conv_rows() {
  static const std::vector<uint32_t> kAround = {1, 1, 1, 1};
  static const std::vector<ConvRow> rows = {
      {"Conv2d", kF16, kF16, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround},
      {"Conv2d", kF32, kF32, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround},
      {"Conv2d", kU8, kS8, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround, true},
      {"Conv2d", kU8, kU8, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround},
      {"Conv2d", kS8, kS8, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround, true},
      {"Conv2d", kU16, kS8, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround, true},
      {"Conv2d", kU16, kU8, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround, false, false, kAsymmetric},
      {"Conv2d", kU16, kS16, {1, 8, 8, 16}, {3, 3, 16, 32}, 1, 1, 1, 1, 1, kAround},
      {"Conv2d", kF16, kS8, {1, 8, 8, 16}, {1, 1, 16, 32}, 1, 1, 1, 1, 1, {0, 0, 0, 0}, true},
      {"Conv2d", kU8, kS8, {1, 9, 7, 16}, {3, 3, 16, 32}, 1, 2, 2, 1, 1, {1, 0, 0, 1}, true, true},
      {"Conv2d", kF16, kF16, {2, 9, 7, 8}, {3, 2, 8, 24}, 1, 2, 1, 1, 1, {0, 1, 1, 0}, false, true},
      {"Conv2d", kU8, kS8, {1, 12, 12, 8}, {3, 3, 8, 16}, 1, 1, 1, 2, 2, {2, 2, 2, 2}, true},
      {"Conv2d", kF16, kF16, {1, 12, 12, 8}, {3, 3, 8, 16}, 1, 1, 1, 2, 3, {2, 2, 3, 3}},
      {"Conv2d", kU8, kS8, {1, 8, 8, 32}, {3, 3, 8, 64}, 4, 1, 1, 1, 1, kAround, true},
      {"Conv2d", kF16, kF16, {1, 8, 8, 32}, {3, 3, 8, 64}, 4, 1, 1, 1, 1, kAround},
      {"Conv2d", kU16, kS8, {1, 8, 8, 32}, {1, 1, 16, 32}, 2, 1, 1, 1, 1, {0, 0, 0, 0}, true},
      {"Conv2d", kU8, kS8, {1, 16, 16, 3}, {4, 4, 3, 32}, 1, 4, 4, 1, 1, {0, 0, 0, 0}, true, true},
      {"DepthWiseConv2d", kF16, kF16, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround},
      {"DepthWiseConv2d", kF32, kF32, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround},
      {"DepthWiseConv2d", kU8, kS8, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround, true},
      {"DepthWiseConv2d", kU8, kU8, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround},
      {"DepthWiseConv2d", kS8, kS8, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround, true},
      {"DepthWiseConv2d", kU16, kS8, {1, 8, 8, 32}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround, true, false, "up to 3 steps (runtime 2.51)"},
      {"DepthWiseConv2d", kU8, kS8, {1, 9, 9, 32}, {3, 3, 1, 32}, 1, 2, 2, 1, 1, {0, 1, 0, 1}, true, true},
      {"DepthWiseConv2d", kF16, kF16, {1, 12, 12, 32}, {3, 3, 1, 32}, 1, 1, 1, 2, 2, {2, 2, 2, 2}, false, true},
      {"DepthWiseConv2d", kU8, kS8, {1, 8, 8, 16}, {3, 3, 1, 32}, 1, 1, 1, 1, 1, kAround, true},
  };
  return rows;
}

GraphSpec conv_graph(const ConvRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const reference::Convolution sizes{row.stride_y, row.stride_x, row.dilation_y, row.dilation_x, row.pad[0], row.pad[2], std::string(row.op) == "Conv2d" ? row.group : row.image[3]};
  const auto length = [&](size_t d, uint32_t before, uint32_t after, uint32_t stride, uint32_t dilation) {
    return (row.image[d + 1] + before + after - (row.filter[d] - 1) * dilation - 1) / stride + 1;
  };
  const Dims dims{row.image[0], length(0, row.pad[0], row.pad[1], row.stride_y, row.dilation_y), length(1, row.pad[2], row.pad[3], row.stride_x, row.dilation_x), row.filter[3]};
  const size_t depth = size_t{row.filter[0]} * row.filter[1] * row.filter[2];
  const size_t x = g.input("x", target_of(row.x), row.image, normal(g.random(), element_count(row.image), 0.3));
  const Fit fit = row.w == kU8 ? Fit::kMinMax : Fit::kSymmetric;
  const size_t w = random_weight(g, "w", row.w, row.filter, fit, 1 / std::sqrt(static_cast<double>(depth)), true, row.per_output ? std::optional<size_t>(3) : std::nullopt);
  std::vector<size_t> inputs = {x, w};
  std::optional<size_t> bias;
  if (row.bias) inputs.push_back(*(bias = g.sum_bias("b", x, w, row.filter[3])));
  std::vector<qnn::ParamDesc> params = {qnn::ParamDesc::tensor("stride", {2}, {row.stride_y, row.stride_x}), qnn::ParamDesc::tensor("pad_amount", {2, 2}, row.pad),
                                        qnn::ParamDesc::tensor("dilation", {2}, {row.dilation_y, row.dilation_x})};
  if (row.group != 1) params.push_back(qnn::ParamDesc::u32("group", row.group));
  std::vector<double> y = reference::convolution(g.tensor(x), g.tensor(w), bias ? &g.tensor(*bias) : nullptr, sizes, dims);
  g.output(g.apply(row.op, inputs, params, {"y", target_of(row.x, is_16_bit(row.w) ? 0 : 0.001), dims, y}));
  return g;
}

void add_convolutions(std::vector<Case>& cases) {
  for (const ConvRow& row : conv_rows()) {
    std::string name = std::string(row.op) + "_" + short_name(row.x) + "_" + short_name(row.w) + "_" + shape_name(row.image) + "_by_" + shape_name(row.filter) + "_stride" +
                       shape_name({row.stride_y, row.stride_x}) + "_dilation" + shape_name({row.dilation_y, row.dilation_x}) + "_pad" + shape_name(row.pad);
    if (row.group != 1) name += "_group" + std::to_string(row.group);
    if (row.per_output) name += "_per_output";
    if (row.bias) name += "_bias";
    Case c{name, bound_of(row.x), [&row](uint32_t seed) { return conv_graph(row, seed); }, false, row.exception};
    qualify(c, row.w, row.w == kU8 ? Fit::kMinMax : Fit::kSymmetric);
    cases.push_back(std::move(c));
  }
}

// --------------------------------------------------------------------------------------------------------- narrow weights

struct NarrowRow {
  const char* op;
  DT x;
  uint32_t bits;
  uint32_t block;  // 0: a scale per output
  Bound bound;
  std::optional<Bound> qualcomm = {};
  const char* exception = "";
  bool only_host = false;
};

const NarrowRow kNarrow[] = {
    {"FullyConnected", kU8, 4, 0, Bound::kLinear8},     {"FullyConnected", kU16, 4, 0, Bound::kLinear16, Bound::kTable16},
    {"FullyConnected", kF16, 4, 0, Bound::kFloat},      {"Conv2d", kU8, 4, 0, Bound::kLinear8},
    {"Conv2d", kU16, 4, 0, Bound::kLinear16, Bound::kTable16}, {"FullyConnected", kU8, 2, 0, Bound::kLinear8},
    {"FullyConnected", kF16, 2, 0, Bound::kFloat},      {"FullyConnected", kU16, 2, 0, Bound::kTable16, Bound::kTable16, kGarbage2},
    {"FullyConnected", kU8, 4, 32, Bound::kLinear8},
    {"FullyConnected", kU16, 4, 32, Bound::kLinear16},  {"Conv2d", kU8, 4, 32, Bound::kLinear8},
    {"Conv2d", kU16, 4, 32, Bound::kLinear16},          {"Conv2d", kU16, 4, 64, Bound::kLinear16},
};

GraphSpec narrow_graph(const NarrowRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const uint32_t rows = 32, in = 128, out = 64;
  const bool conv = std::string(row.op) == "Conv2d";
  const size_t x = g.input("x", target_of(row.x), conv ? Dims{1, 1, rows, in} : Dims{rows, in}, normal(g.random(), size_t{rows} * in, 0.3));
  const Dims dims = conv ? Dims{1, 1, in, out} : Dims{out, in};
  const size_t axis = conv ? 3 : 0;
  const std::vector<double> values = normal(g.random(), size_t{in} * out, 0, 1 / std::sqrt(double{in}));
  const size_t w = row.block == 0 ? g.axis_constant("w", dims, axis, values, row.bits) : g.block_constant("w", dims, axis, values, in / row.block);
  std::vector<qnn::ParamDesc> params;
  if (conv) params = {qnn::ParamDesc::tensor("stride", {2}, {1, 1}), qnn::ParamDesc::tensor("pad_amount", {2, 2}, {0, 0, 0, 0})};
  Dims y_dims = g.tensor(x).dims;
  y_dims.back() = out;
  std::vector<double> y = conv ? reference::convolution(g.tensor(x), g.tensor(w), nullptr, {1, 1, 1, 1, 0, 0, 1}, y_dims) : reference::matmul(g.tensor(x), g.tensor(w), false, true, nullptr, y_dims);
  g.output(g.apply(row.op, {x, w}, params, {"y", target_of(row.x, is_16_bit(row.x) ? 0 : 0.001), y_dims, y}));
  return g;
}

void add_narrow(std::vector<Case>& cases) {
  for (const NarrowRow& row : kNarrow) {
    const std::string name = std::string(row.op) + "_" + short_name(row.x) + "_w" + std::to_string(row.bits) + (row.block == 0 ? "_per_output" : "_block" + std::to_string(row.block));
    Case c{name, row.bound, [&row](uint32_t seed) { return narrow_graph(row, seed); }, false, row.exception, row.qualcomm};
    c.only_host = row.only_host;
    cases.push_back(std::move(c));
  }
}

}  // namespace

void add_linear_cases(std::vector<Case>& cases) {
  add_matmuls(cases);
  add_convolutions(cases);
  add_narrow(cases);
}

}  // namespace lutra::conformance
