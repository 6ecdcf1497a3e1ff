// Nodes that are no forms of their op on HTP: other types, ranks, shapes and parameters. A library has to say so, at the latest when the graph is finalized. Some of them mean
// something all the same, and the host NPU computes it.
#include <algorithm>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

using Param = qnn::ParamDesc;

struct Operand {
  DT dtype;
  Dims dims;
  bool constant = false;
  std::optional<size_t> axis = {};  // of a constant S8 weight: a scale per index
};

using Inputs = std::vector<const Tensor*>;
/// What output `index` is, for the host NPU.
using Exact = std::vector<double> (*)(const Inputs& x, uint32_t index);

struct RefusedRow {
  const char* name;
  const char* op;
  std::vector<Operand> inputs, outputs;
  std::vector<Param> params = {};
  const char* host_takes = "";
  Exact exact = nullptr;
};

constexpr const char* kEveryType = "the host NPU has the op for every type that it has arithmetic for";

std::vector<double> same(const Inputs& x, uint32_t) { return reference::reals(*x[0]); }

std::vector<double> lesser(const Inputs& x, uint32_t) {
  std::vector<double> y = reference::reals(*x[0]);
  const std::vector<double> other = reference::reals(*x[1]);
  std::transform(y.begin(), y.end(), other.begin(), y.begin(), [](double a, double b) { return std::min(a, b); });
  return y;
}

std::vector<double> negative(const Inputs& x, uint32_t) {
  std::vector<double> y = reference::reals(*x[0]);
  for (double& v : y) v = -v;
  return y;
}

/// 16 of the 32 columns.
std::vector<double> half(const Inputs& x, uint32_t index) {
  return reference::rearrange(*x[0], {16, 16}, [index](const reference::Index& i) { return reference::Index{i[0], i[1] + 16 * index}; });
}

std::vector<double> gathered(const Inputs& x, uint32_t) { return reference::gather(*x[0], *x[1], 0); }
std::vector<double> normed(const Inputs& x, uint32_t) { return reference::rms_norm(*x[0], *x[1], *x[2], double{1e-5f}); }

Param numbers(const char* name, std::vector<uint32_t> values) { return Param::tensor(name, {static_cast<uint32_t>(values.size())}, values); }
Param integers(const char* name, Dims dims, std::vector<uint32_t> values) { return {name, qnn::TensorParam{std::move(dims), std::move(values), DT::kInt32}}; }
const Param kStride = numbers("stride", {1, 1}), kPad = Param::tensor("pad_amount", {2, 2}, {0, 0, 0, 0}), kEpsilon = Param::f32("epsilon", 1e-5f);

const std::vector<RefusedRow>& converting_rows() {
  static const std::vector<RefusedRow> rows = {
      {"to_another_rank", "Quantize", {{kF16, {16, 32}}}, {{kU8, {1, 16, 32}}}},
      {"of_integers", "Quantize", {{kU8, {16, 32}}}, {{kU16, {16, 32}}}},
      {"to_floats", "Quantize", {{kF32, {16, 32}}}, {{kF16, {16, 32}}}},
      {"to_another_rank", "Dequantize", {{kU8, {16, 32}}}, {{kF16, {1, 16, 32}}}},
      {"of_floats", "Dequantize", {{kF16, {16, 32}}}, {{kF32, {16, 32}}}},
      {"to_integers", "Dequantize", {{kU8, {16, 32}}}, {{kU16, {16, 32}}}},
      {"s8_to_f16", "Convert", {{kS8, {16, 32}}}, {{kF16, {16, 32}}}, {}, kEveryType, &same},
      {"s16_to_f32", "Convert", {{kS16, {16, 32}}}, {{kF32, {16, 32}}}, {}, kEveryType, &same},
      {"f32_to_s8", "Convert", {{kF32, {16, 32}}}, {{kS8, {16, 32}}}, {}, kEveryType, &same},
      {"f32_to_s16", "Convert", {{kF32, {16, 32}}}, {{kS16, {16, 32}}}, {}, kEveryType, &same},
      {"of_truths", "Quantize", {{kBool, {16, 32}}}, {{kU8, {16, 32}}}},
  };
  return rows;
}

const std::vector<RefusedRow>& linear_rows() {
  static const std::vector<RefusedRow> rows = {
      {"u8_to_u16", "FullyConnected", {{kU8, {16, 64}}, {kS8, {32, 64}, true, 0}}, {{kU16, {16, 32}}}},
      {"u8_to_f16", "FullyConnected", {{kU8, {16, 64}}, {kS8, {32, 64}, true, 0}}, {{kF16, {16, 32}}}},
      {"to_rank_3", "FullyConnected", {{kU8, {1, 16, 64}}, {kS8, {32, 64}, true, 0}}, {{kU8, {1, 16, 32}}}},
      {"keep_dims", "FullyConnected", {{kU8, {1, 16, 64}}, {kS8, {32, 64}, true, 0}}, {{kU8, {1, 16, 32}}}, {Param::boolean("keep_dims", true)}},
      {"bias_of_plain_integers", "FullyConnected", {{kU8, {16, 64}}, {kS8, {32, 64}, true, 0}, {kI32, {32}, true}}, {{kU8, {16, 32}}}},
      {"f32_by_s8", "FullyConnected", {{kF32, {16, 64}}, {kS8, {32, 64}, true, 0}}, {{kF32, {16, 32}}}},
      {"u8_by_f16", "FullyConnected", {{kU8, {16, 64}}, {kF16, {32, 64}, true}}, {{kU8, {16, 32}}}},
      {"u8_by_u16", "FullyConnected", {{kU8, {16, 64}}, {kU16, {32, 64}, true}}, {{kU8, {16, 32}}}},
      {"of_integers", "FullyConnected", {{kI32, {16, 64}}, {kI32, {32, 64}, true}}, {{kI32, {16, 32}}}},
      {"weight_of_another_length", "FullyConnected", {{kU8, {16, 64}}, {kS8, {32, 48}, true, 0}}, {{kU8, {16, 32}}}},
      {"weight_of_rank_3", "FullyConnected", {{kU8, {16, 64}}, {kS8, {1, 32, 64}, true, 1}}, {{kU8, {16, 32}}}},
      {"output_of_another_length", "FullyConnected", {{kU8, {16, 64}}, {kS8, {32, 64}, true, 0}}, {{kU8, {16, 48}}}},
      {"rank_2", "Conv2d", {{kU8, {16, 64}}, {kS8, {1, 1, 64, 32}, true, 3}}, {{kU8, {16, 32}}}, {kStride, kPad}},
      {"rank_3", "Conv2d", {{kU8, {1, 16, 64}}, {kS8, {1, 1, 64, 32}, true, 3}}, {{kU8, {1, 16, 32}}}, {kStride, kPad}},
      {"without_stride", "Conv2d", {{kU8, {1, 1, 16, 64}}, {kS8, {1, 1, 64, 32}, true, 3}}, {{kU8, {1, 1, 16, 32}}}, {kPad}},
      {"without_pad_amount", "Conv2d", {{kU8, {1, 1, 16, 64}}, {kS8, {1, 1, 64, 32}, true, 3}}, {{kU8, {1, 1, 16, 32}}}, {kStride}},
      {"scales_of_inputs", "Conv2d", {{kU8, {1, 1, 16, 64}}, {kS8, {1, 1, 64, 32}, true, 2}}, {{kU8, {1, 1, 16, 32}}}, {kStride, kPad}},
      {"u8_to_u16", "Conv2d", {{kU8, {1, 1, 16, 64}}, {kS8, {1, 1, 64, 32}, true, 3}}, {{kU16, {1, 1, 16, 32}}}, {kStride, kPad}},
      {"output_of_another_height", "Conv2d", {{kU8, {1, 8, 8, 16}}, {kS8, {3, 3, 16, 32}, true, 3}}, {{kU8, {1, 8, 8, 32}}}, {kStride, kPad}},
      {"channels_do_not_divide", "Conv2d", {{kU8, {1, 8, 8, 16}}, {kS8, {1, 1, 5, 32}, true, 3}}, {{kU8, {1, 8, 8, 32}}}, {kStride, kPad, Param::u32("group", 3)}},
      {"u8_to_u16", "MatMul", {{kU8, {16, 32}}, {kU8, {32, 24}}}, {{kU16, {16, 24}}}},
      {"f16_by_f32", "MatMul", {{kF16, {16, 32}}, {kF32, {32, 24}}}, {{kF16, {16, 24}}}},
      {"f16_by_u8", "MatMul", {{kF16, {16, 32}}, {kU8, {32, 24}}}, {{kF16, {16, 24}}}},
      {"other_batches", "MatMul", {{kF16, {1, 3, 16, 32}}, {kF16, {1, 2, 32, 24}}}, {{kF16, {1, 3, 16, 24}}}},
      {"inner_lengths_differ", "MatMul", {{kF16, {16, 32}}, {kF16, {48, 24}}}, {{kF16, {16, 24}}}},
      {"of_integers", "MatMul", {{kI32, {16, 32}}, {kI32, {32, 24}}}, {{kI32, {16, 24}}}},
  };
  return rows;
}

const std::vector<RefusedRow>& elementwise_rows() {
  static const std::vector<RefusedRow> rows = {
      {"unsigned_integers", "ElementWiseAdd", {{kU32, {16, 32}}, {kU32, {16, 32}}}, {{kU32, {16, 32}}}},
      {"u8_and_u16", "ElementWiseAdd", {{kU8, {16, 32}}, {kU16, {16, 32}}}, {{kU8, {16, 32}}}},
      {"f16_and_f32", "ElementWiseAdd", {{kF16, {16, 32}}, {kF32, {16, 32}}}, {{kF16, {16, 32}}}},
      {"u8_to_f16", "ElementWiseAdd", {{kU8, {16, 32}}, {kU8, {16, 32}}}, {{kF16, {16, 32}}}},
      {"shapes_do_not_repeat", "ElementWiseMultiply", {{kF16, {16, 32}}, {kF16, {16, 24}}}, {{kF16, {16, 32}}}},
      {"truths", "ElementWiseMultiply", {{kBool, {16, 32}}, {kBool, {16, 32}}}, {{kBool, {16, 32}}}},
      {"s16", "ElementWiseMinimum", {{kS16, {16, 32}}, {kS16, {16, 32}}}, {{kS16, {16, 32}}}, {}, kEveryType, &lesser},
      {"numbers", "ElementWiseAnd", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kBool, {16, 32}}}},
      {"to_numbers", "ElementWiseLess", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 32}}}},
      {"unsigned_integers", "ElementWiseLess", {{kU32, {16, 32}}, {kU32, {16, 32}}}, {{kBool, {16, 32}}}},
      {"condition_of_numbers", "ElementWiseSelect", {{kF16, {16, 32}}, {kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 32}}}},
      {"u8_and_f16", "ElementWiseSelect", {{kBool, {16, 32}}, {kU8, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 32}}}},
      {"operation_20", "ElementWiseBinary", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 32}}}, {Param::u32("operation", 20)}},
      {"operation_16", "ElementWiseUnary", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}, {Param::u32("operation", 16)}},
      {"operation_9", "ElementWiseNeuron", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}, {Param::u32("operation", 9)}},
      {"integers", "Sigmoid", {{kI32, {16, 32}}}, {{kI32, {16, 32}}}},
      {"u8_to_f16", "Sigmoid", {{kU8, {16, 32}}}, {{kF16, {16, 32}}}},
      {"truths", "Relu", {{kBool, {16, 32}}}, {{kBool, {16, 32}}}},
      {"integers", "Gelu", {{kI32, {16, 32}}}, {{kI32, {16, 32}}}},
      {"s16", "ElementWiseNeg", {{kS16, {16, 32}}}, {{kS16, {16, 32}}}, {}, kEveryType, &negative},
      {"truths", "ElementWiseAbs", {{kBool, {16, 32}}}, {{kBool, {16, 32}}}},
      {"f16", "ElementWiseNot", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}},
      {"without_axes", "RmsNorm", {{kF16, {16, 64}}, {kF16, {64}, true}, {kF16, {64}, true}}, {{kF16, {16, 64}}}, {kEpsilon}, "the interface gives axes the last axis as default", &normed},
      {"gamma_of_f32", "RmsNorm", {{kF16, {16, 64}}, {kF32, {64}, true}, {kF16, {64}, true}}, {{kF16, {16, 64}}}, {kEpsilon, numbers("axes", {1})}},
      {"gamma_of_u8", "RmsNorm", {{kF16, {16, 64}}, {kU8, {64}, true}, {kF16, {64}, true}}, {{kF16, {16, 64}}}, {kEpsilon, numbers("axes", {1})}},
      {"gamma_of_another_length", "RmsNorm", {{kF16, {16, 64}}, {kF16, {48}, true}, {kF16, {48}, true}}, {{kF16, {16, 64}}}, {kEpsilon, numbers("axes", {1})}},
      {"first_axis", "Softmax", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}, {Param::u32("axis", 0)}},
      {"integers", "Softmax", {{kI32, {16, 32}}}, {{kI32, {16, 32}}}, {Param::u32("axis", 1)}},
      {"first_axis", "LayerNorm", {{kF16, {16, 32}}, {kF16, {16}, true}, {kF16, {16}, true}}, {{kF16, {16, 32}}}, {kEpsilon, numbers("axes", {0})}},
  };
  return rows;
}

const std::vector<RefusedRow>& movement_rows() {
  static const std::vector<RefusedRow> rows = {
      {"to_another_type", "Reshape", {{kU8, {16, 32}}}, {{kU16, {512}}}},
      {"to_fewer_elements", "Reshape", {{kU8, {16, 32}}}, {{kU8, {16, 16}}}},
      {"accumulators", "Reshape", {{kS32, {16, 32}}}, {{kS32, {512}}}},
      {"without_perm", "Transpose", {{kF16, {16, 32}}}, {{kF16, {32, 16}}}},
      {"perm_repeats", "Transpose", {{kF16, {16, 16}}}, {{kF16, {16, 16}}}, {numbers("perm", {1, 1})}},
      {"to_another_shape", "Transpose", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}, {numbers("perm", {1, 0})}},
      {"axis_too_large", "Concat", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 64}}}, {Param::u32("axis", 2)}},
      {"without_axis", "Concat", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 64}}}},
      {"to_fewer_elements", "Concat", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 48}}}, {Param::u32("axis", 1)}},
      {"u8_and_f16", "Concat", {{kU8, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {16, 64}}}, {Param::u32("axis", 1)}},
      {"unsigned_integers", "Split", {{kU32, {16, 32}}}, {{kU32, {16, 16}}, {kU32, {16, 16}}}, {Param::u32("axis", 1), numbers("split_index", {16})}, kEveryType, &half},
      {"without_split_index", "Split", {{kF16, {16, 32}}}, {{kF16, {16, 8}}, {kF16, {16, 24}}}, {Param::u32("axis", 1)}},
      {"parts_too_long", "Split", {{kF16, {16, 32}}}, {{kF16, {16, 16}}, {kF16, {16, 24}}}, {Param::u32("axis", 1), numbers("split_index", {16})}},
      {"unsigned_ranges", "StridedSlice", {{kF16, {16, 32}}}, {{kF16, {16, 16}}}, {Param::tensor("ranges", {2, 3}, {0, 16, 1, 0, 16, 1})}, "numbers that fit both types mean the same", &half},
      {"without_ranges", "StridedSlice", {{kF16, {16, 32}}}, {{kF16, {16, 16}}}},
      {"unsigned_integers", "StridedSlice", {{kU32, {16, 32}}}, {{kU32, {16, 16}}}, {integers("ranges", {2, 3}, {0, 16, 1, 0, 16, 1})}, kEveryType, &half},
      {"truths", "StridedSlice", {{kBool, {16, 32}}}, {{kBool, {16, 16}}}, {integers("ranges", {2, 3}, {0, 16, 1, 0, 16, 1})}, kEveryType, &half},
      {"unsigned_axis", "Gather", {{kF16, {16, 32}}, {kI32, {4}, true}}, {{kF16, {4, 32}}}, {Param::u32("axis", 0)}, "numbers that fit both types mean the same", &gathered},
      {"indices_of_floats", "Gather", {{kF16, {16, 32}}, {kF16, {4}, true}}, {{kF16, {4, 32}}}, {Param::i32("axis", 0)}},
      {"truths", "Gather", {{kBool, {16, 32}}, {kI32, {4}, true}}, {{kBool, {4, 32}}}, {Param::i32("axis", 0)}, kEveryType, &gathered},
      {"axis_too_large", "Gather", {{kF16, {16, 32}}, {kI32, {4}, true}}, {{kF16, {16, 4}}}, {Param::i32("axis", 2)}},
      {"without_multiples", "Tile", {{kF16, {16, 32}}}, {{kF16, {16, 64}}}},
      {"axis_too_large", "Pack", {{kF16, {16, 32}}, {kF16, {16, 32}}}, {{kF16, {2, 16, 32}}}, {Param::u32("axis", 3)}},
      {"not_a_part_for_each_index", "UnPack", {{kF16, {3, 32}}}, {{kF16, {32}}, {kF16, {32}}}, {Param::u32("axis", 0)}},
      {"of_floats", "ScatterNd", {{kF16, {8, 32}}, {kF16, {2, 1}}, {kF16, {2, 32}}}, {{kF16, {8, 32}}}, {Param::u32("reduction", 0)}},
      {"reduction_9", "ScatterNd", {{kF16, {8, 32}}, {kI32, {2, 1}}, {kF16, {2, 32}}}, {{kF16, {8, 32}}}, {Param::u32("reduction", 9)}},
      {"unknown", "NoSuchOp", {{kF16, {16, 32}}}, {{kF16, {16, 32}}}},
  };
  return rows;
}

qnn::Encoding plain_encoding(DT dtype) {
  switch (dtype) {
    case kU8: return qnn::Encoding::scale_offset(0.03f, -128);
    case kS8: return qnn::Encoding::scale_offset(0.03f, 0);
    case kU16: return qnn::Encoding::scale_offset(1e-4f, -32768);
    case kS16: return qnn::Encoding::scale_offset(1e-4f, 0);
    case kS32: return qnn::Encoding::scale_offset(1e-4f, 0);
    default: return qnn::Encoding::none();
  }
}

/// Normal numbers; small ones where they may be indices or truths.
std::vector<double> values_of(GraphSpec& g, const Operand& operand) {
  std::vector<double> values = normal(g.random(), element_count(operand.dims));
  if (is_float(operand.dtype) || is_quantized(operand.dtype)) return values;
  for (double& v : values) v = v > 0 ? 1 : 0;
  return values;
}

Bound bound_of(DT dtype) {
  if (is_float(dtype)) return Bound::kFloat;
  if (!is_quantized(dtype)) return Bound::kExact;
  return dtype == kU8 || dtype == kS8 ? Bound::kOther8 : Bound::kOther16;
}

GraphSpec refused_graph(const RefusedRow& row, uint32_t seed) {
  GraphSpec g(seed);
  std::vector<size_t> inputs;
  for (const Operand& operand : row.inputs) {
    const std::string name = "x" + std::to_string(inputs.size());
    const Target target{operand.dtype, is_quantized(operand.dtype) ? Fit::kMinMax : Fit::kNone, 0};
    const std::vector<double> values = values_of(g, operand);
    if (operand.axis) {
      inputs.push_back(g.axis_constant(name, operand.dims, *operand.axis, values, 8));
    } else {
      inputs.push_back(operand.constant ? g.constant(name, target, operand.dims, values) : g.input(name, target, operand.dims, values));
    }
  }
  Inputs tensors;
  for (const size_t input : inputs) tensors.push_back(&g.tensor(input));
  std::vector<Output> outputs;
  for (const Operand& operand : row.outputs) {
    const auto index = static_cast<uint32_t>(outputs.size());
    std::vector<double> y = row.exact != nullptr ? row.exact(tensors, index) : std::vector<double>(element_count(operand.dims));
    outputs.push_back({"y" + std::to_string(index), {operand.dtype}, operand.dims, std::move(y), {}, plain_encoding(operand.dtype)});
  }
  for (const size_t y : g.apply(row.op, inputs, row.params, outputs)) g.output(y);
  return g;
}

}  // namespace

void add_refused_cases(std::vector<Case>& cases) {
  for (const auto* rows : {&converting_rows(), &linear_rows(), &elementwise_rows(), &movement_rows()}) {
    for (const RefusedRow& row : *rows) {
      Case c{"Refused_" + std::string(row.op) + "_" + row.name, bound_of(row.outputs[0].dtype), [&row](uint32_t seed) { return refused_graph(row, seed); }};
      c.expected = Expected::kRefused;
      c.only_host = true;
      c.host_takes = row.host_takes;
      c.span = 0.6;  // fixed encodings
      cases.push_back(std::move(c));
    }
  }
}

}  // namespace lutra::conformance
