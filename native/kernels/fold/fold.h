// What conversion does to every weight: floats widened and checked, the rotation of the residual stream folded in, 8-bit codes with a scale per output. No allocation, no threads, no names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"

namespace lutra::kernels {

/// Rows of the small matrix of a rotation, at most: hidden sizes of 2^k · m have m up to this.
constexpr uint32_t kMostFoldMatrix = 256;
/// Columns that rotate_columns takes at a time.
constexpr uint32_t kFoldColumns = 16;

/// H ⊗ M of `hidden` = 2^k · size columns, H the normalised Hadamard matrix.
struct FoldRotation {
  uint32_t hidden;
  uint32_t size;
  /// M times the norm of H, row major; rows are fold_stride(size) doubles apart, and what lies between is 0.
  const double* matrix;
  /// [hidden]: what a vector is multiplied by before it is rotated.
  const float* diagonal;
};

constexpr uint32_t fold_stride(uint32_t size) noexcept { return (size + 3) / 4 * 4; }

struct FoldKernels {
  const char* name;
  Isa isa;
  /// `count` numbers as floats, exactly. False when one is infinite or no number.
  bool (*widen_bf16)(const uint16_t* x, size_t count, float* y);
  bool (*widen_f16)(const uint16_t* x, size_t count, float* y);
  /// Whether none of `count` floats is infinite or no number.
  bool (*finite)(const float* x, size_t count);
  /// Rows of `hidden` floats, in place: each v becomes (v ∘ diagonal) · (H ⊗ M). Sums and differences of H in float, products with M in double, rounded once.
  void (*rotate_rows)(const FoldRotation& rotation, float* values, size_t rows);
  /// The same of columns: `hidden` rows of `count` ≤ kFoldColumns floats, `stride` apart, in place. scratch: hidden · kFoldColumns floats.
  void (*rotate_columns)(const FoldRotation& rotation, float* values, size_t stride, uint32_t count, float* scratch);
  /// One row as codes in [−127, 127]: scale = max|x| / 127 (1 when that is 0), q = rint(x / scale), half to even. False when a value is infinite or no number.
  bool (*quantize_row)(const float* x, uint32_t cols, int8_t* codes, float* scale);
};

/// Lowest tier first.
std::span<const FoldKernels> fold_kernels() noexcept;
/// The best one for `isa`.
const FoldKernels& fold_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
