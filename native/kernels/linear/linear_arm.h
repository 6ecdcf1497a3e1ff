// What the ARM tiers of the linear kernels share and what needs no more than NEON.
#pragma once

#include "kernels/linear/linear_internal.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

namespace lutra::kernels {

/// LinearKernel::run_float.
void run_float_neon(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride);

/// Four F16 numbers.
inline float32x4_t load_halves(const std::byte* p) noexcept { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)))); }

/// The first `rows` (at most 16) of four registers.
inline void store_rows(float* y, uint32_t rows, const float32x4_t (&values)[4]) noexcept {
  float all[kTileRows];
  float* to = rows == kTileRows ? y : all;
#pragma GCC unroll 4
  for (uint32_t q = 0; q < 4; ++q) vst1q_f32(to + 4 * q, values[q]);
  if (to == all) std::memcpy(y, all, rows * sizeof(float));
}

}  // namespace lutra::kernels
#endif
