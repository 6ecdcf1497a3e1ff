// One number after another: the reference of the other tiers, which give the same bits.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/f16.h"
#include "kernels/fold/fold_tiers.h"

namespace lutra::kernels {
namespace {

bool finite(const float* x, size_t count) { return std::all_of(x, x + count, [](float v) { return std::isfinite(v); }); }

bool widen_bf16(const uint16_t* x, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = std::bit_cast<float>(static_cast<uint32_t>(x[i]) << 16);
  return finite(y, count);
}

bool widen_f16(const uint16_t* x, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = f16_to_f32(x[i]);
  return finite(y, count);
}

/// A vector of `hidden` floats that are `step` apart.
void rotate(const FoldRotation& r, float* v, size_t step) {
  for (uint32_t i = 0; i < r.hidden; ++i) v[i * step] *= r.diagonal[i];
  for (uint32_t run = r.size; run < r.hidden; run *= 2) {
    for (uint32_t from = 0; from < r.hidden; from += 2 * run) {
      for (uint32_t i = from; i < from + run; ++i) {
        const float a = v[i * step], b = v[(i + run) * step];
        v[i * step] = a + b;
        v[(i + run) * step] = a - b;
      }
    }
  }
  for (uint32_t from = 0; from < r.hidden; from += r.size) {
    double sums[kMostFoldMatrix] = {};
    for (uint32_t i = 0; i < r.size; ++i) {
      for (uint32_t k = 0; k < r.size; ++k) sums[k] += r.matrix[i * fold_stride(r.size) + k] * static_cast<double>(v[(from + i) * step]);
    }
    for (uint32_t k = 0; k < r.size; ++k) v[(from + k) * step] = static_cast<float>(sums[k]);
  }
}

void rotate_rows(const FoldRotation& r, float* values, size_t rows) {
  for (size_t row = 0; row < rows; ++row) rotate(r, values + row * r.hidden, 1);
}

void rotate_columns(const FoldRotation& r, float* values, size_t stride, uint32_t count, float*) {
  for (uint32_t column = 0; column < count; ++column) rotate(r, values + column, stride);
}

bool quantize_row(const float* x, uint32_t cols, int8_t* codes, float* scale) {
  if (!finite(x, cols)) return false;
  float largest = 0;
  for (uint32_t i = 0; i < cols; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float step = largest / 127.0f;
  *scale = step > 0 ? step : 1.0f;
  for (uint32_t i = 0; i < cols; ++i) codes[i] = static_cast<int8_t>(std::clamp(std::nearbyint(x[i] / *scale), -127.0f, 127.0f));
  return true;
}

}  // namespace

const FoldKernels& portable_fold() noexcept {
  static const FoldKernels kernels{"portable", Isa::kPortable, widen_bf16, widen_f16, finite, rotate_rows, rotate_columns, quantize_row};
  return kernels;
}

}  // namespace lutra::kernels
