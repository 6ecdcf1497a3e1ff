// Forms that Qualcomm's runtime takes and gets wrong in some shapes, roles or offsets, each beside its neighbours that are right: what tells them apart is a condition of
// native/qnn/form.cc, or part of the form.
#include <cmath>

#include "conformance/cases.h"
#include "conformance/dtypes.h"
#include "conformance/reference.h"

namespace lutra::conformance {
namespace {

void add(std::vector<Case>& cases, Case c, const char* exception, const char* remedy) {
  if (exception != nullptr) {
    c.exception = exception;
    c.remedy = remedy;
  }
  cases.push_back(std::move(c));
}

// ---------------------------------------------------------------------------------------------------------------- RmsNorm

struct NormRow {
  DT dtype;
  Dims dims;
  bool wrong;
};

const std::vector<NormRow>& norm_rows() {
  static const std::vector<NormRow> rows = {
      {kF16, {9, 17, 64}, true}, {kF16, {1, 17, 1, 64}, true}, {kF16, {2, 17, 64}, false}, {kF16, {16, 2, 64}, true}, {kF16, {1, 9, 1, 64}, true}, {kF16, {2, 2, 3, 64}, false}, {kF16, {8, 8, 64}, false},
      {kF16, {1, 1, 17, 64}, false}, {kF32, {9, 17, 64}, true}, {kF32, {8, 8, 64}, false}, {kU16, {9, 17, 64}, false}, {kU8, {9, 17, 64}, true}, {kU8, {8, 8, 64}, false},
  };
  return rows;
}

GraphSpec norm_graph(const NormRow& row, uint32_t seed) {
  GraphSpec g(seed);
  const uint32_t length = row.dims.back();
  const Target target{row.dtype, is_float(row.dtype) ? Fit::kNone : Fit::kMinMax, 0};
  const size_t x = g.input("x", target, row.dims, normal(g.random(), element_count(row.dims), 0.2));
  const size_t gamma = g.constant("gamma", target, {length}, normal(g.random(), length, 1, 0.2));
  const Tensor zeros{"", Role::kConstant, kF32, {length}, {}, {}, encode(kF32, {}, std::vector<double>(length))};
  std::vector<double> y = reference::rms_norm(g.tensor(x), g.tensor(gamma), zeros, double{1e-5f});
  const auto axis = static_cast<uint32_t>(row.dims.size() - 1);
  const std::vector<qnn::ParamDesc> params = {qnn::ParamDesc::f32("epsilon", 1e-5f), qnn::ParamDesc::tensor("axes", {1}, {axis})};
  g.output(g.apply("RmsNorm", {x, gamma}, params, {"y", target, row.dims, std::move(y)}));
  return g;
}

Bound bound_of(DT dtype) { return is_float(dtype) ? Bound::kFloat : dtype == kU16 ? Bound::kLinear16 : Bound::kOther8; }

void add_norms(std::vector<Case>& cases) {
  for (const NormRow& row : norm_rows()) {
    Case c{"RmsNorm_rows_" + short_name(row.dtype) + "_" + shape_name(row.dims), bound_of(row.dtype), [&row](uint32_t seed) { return norm_graph(row, seed); }};
    add(cases, std::move(c), row.wrong ? "RmsNorm is wrong with more than 8 rows in another dimension than the last of rows (runtime 2.51)" : nullptr,
        "Reshape to [rows, columns] before it and back afterwards.");
  }
}

// --------------------------------------------------------------------------------------------------------- MatMul, Gather

struct ProductRow {
  Dims a, b;
  bool wrong;
};

/// With several matrices the result is right with 8 and 64 rows as well, but does not finalize for 48 columns; the condition does not go into that.
const std::vector<ProductRow>& product_rows() {
  static const std::vector<ProductRow> rows = {
      {{16, 32}, {32, 24}, false}, {{5, 33}, {33, 7}, false}, {{128, 64}, {64, 128}, false}, {{1, 1, 32, 48}, {1, 1, 48, 64}, false},
      {{1, 3, 32, 48}, {1, 3, 48, 64}, true}, {{1, 2, 32, 64}, {1, 2, 64, 64}, true}, {{2, 32, 48}, {2, 48, 64}, true},
  };
  return rows;
}

GraphSpec product_graph(const ProductRow& row, uint32_t seed) {
  GraphSpec g(seed);
  Dims dims = row.a;
  dims.back() = row.b.back();
  const size_t a = g.input("a", {kU8, Fit::kMinMax, 0.0005}, row.a, normal(g.random(), element_count(row.a), 0.3));
  const size_t b = g.input("b", {kS8, Fit::kSymmetric, 0.0005}, row.b, normal(g.random(), element_count(row.b), 0, 1 / std::sqrt(static_cast<double>(row.a.back()))));
  std::vector<double> y = reference::matmul(g.tensor(a), g.tensor(b), false, false, nullptr, dims);
  const std::vector<qnn::ParamDesc> params = {qnn::ParamDesc::boolean("transpose_in0", false), qnn::ParamDesc::boolean("transpose_in1", false)};
  g.output(g.apply("MatMul", {a, b}, params, {"y", {kU8, Fit::kMinMax, 0.001}, dims, std::move(y)}));
  return g;
}

void add_products(std::vector<Case>& cases) {
  for (const ProductRow& row : product_rows()) {
    Case c{"MatMul_u8_by_s8_" + shape_name(row.a) + "_" + shape_name(row.b), Bound::kLinear8, [&row](uint32_t seed) { return product_graph(row, seed); }};
    add(cases, std::move(c), row.wrong ? "a MatMul of several matrices of computed U8 by computed S8 is wrong in most shapes and does not finalize in others (runtime 2.51)" : nullptr,
        "Use U8 by U8, S8 by U8, S8 by S8 or F16.");
  }
}

GraphSpec gather_graph(DT dtype, bool constant_indices, uint32_t seed) {
  GraphSpec g(seed);
  const Dims dims{16, 32}, index_dims{5};
  const size_t x = g.input("x", {dtype, is_float(dtype) ? Fit::kNone : Fit::kMinMax, 0.001}, dims, normal(g.random(), element_count(dims), 0.3));
  const std::vector<double> indices = {3, 0, 15, 7, 3};
  const size_t i = constant_indices ? g.constant("indices", kI32, index_dims, indices) : g.input("indices", {kI32}, index_dims, indices);
  g.output(g.gather(x, i, 0, "y"));
  return g;
}

void add_gathers(std::vector<Case>& cases) {
  for (const DT dtype : {kU8, kS8, kU16, kF16}) {
    for (const bool constant : {true, false}) {
      Case c{"Gather_" + short_name(dtype) + (constant ? "_constant" : "_computed") + "_indices", Bound::kExact, [=](uint32_t seed) { return gather_graph(dtype, constant, seed); }};
      add(cases, std::move(c), dtype == kS8 && !constant ? "a Gather of S8 by computed indices is off by 128 (runtime 2.51)" : nullptr, "Dequantize first, or use U8.");
    }
  }
}

}  // namespace

void add_trap_cases(std::vector<Case>& cases) {
  add_norms(cases);
  add_products(cases);
  add_gathers(cases);
}

}  // namespace lutra::conformance
