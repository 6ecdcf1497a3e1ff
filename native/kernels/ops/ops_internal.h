// What the tiers of the row-wise steps share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/ops/ops.h"

// Before a loop over an array of vectors: unrolled whole, or the array does not live in registers (GCC at -O2 would not).
#if defined(__clang__)
#define LUTRA_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define LUTRA_UNROLL _Pragma("GCC unroll 16")
#else
#define LUTRA_UNROLL
#endif

namespace lutra::kernels {

const OpKernels& portable_ops() noexcept;
#ifdef LUTRA_X86
const OpKernels& avx2_ops() noexcept;
const OpKernels& avx512_ops() noexcept;
#endif
#ifdef LUTRA_ARM64
const OpKernels& neon_ops() noexcept;
#endif

/// Positions of K and V that attention works on at a time.
inline constexpr uint32_t kAttendTile = 64;
/// Queries that attend_* of any tier take through a head's keys at once, at most.
inline constexpr uint32_t kMostHeadQueries = 4;
/// Vectors of every tier divide this, so that scratch does not depend on the tier.
inline constexpr uint32_t kMaxLanes = 16;

inline constexpr size_t round_up_lanes(size_t n) noexcept { return (n + kMaxLanes - 1) / kMaxLanes * kMaxLanes; }

/// One quantised value as an integer; the vector forms do the same operations in the same order. |offset| < 2^24, so every step after the rounding is exact.
inline int32_t quantize_one(float x, const Encoding& e) noexcept {
  const float offset = static_cast<float>(e.offset);
  float r = std::nearbyintf(x / e.scale);
  if (std::isnan(r)) r = 0.0f;
  r = std::min(std::max(r, static_cast<float>(e.lo) + offset), static_cast<float>(e.hi) + offset);
  return std::clamp(static_cast<int32_t>(r - offset), e.lo, e.hi);
}

/// Rotates pairs (2i, 2i+1) of one row. Every tier uses this: files of lutra hold un-permuted heads, so this form is rare.
inline void rope_interleaved(const float* x, const float* cos_sin, uint32_t heads, uint32_t head_dim, float* y) noexcept {
  const uint32_t half = head_dim / 2;
  for (uint32_t h = 0; h < heads; ++h) {
    for (uint32_t i = 0; i < half; ++i) {
      const size_t at = static_cast<size_t>(h) * head_dim + 2 * i;
      const float a = x[at], b = x[at + 1], c = cos_sin[i], s = cos_sin[half + i];
      y[at] = a * c - b * s;
      y[at + 1] = a * s + b * c;
    }
  }
}

}  // namespace lutra::kernels
