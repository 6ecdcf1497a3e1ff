// Vectors of 4 floats for the .inc files. "partial" forms touch the first n < kLanes elements only; other lanes read as 0.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "kernels/ops/ops_internal.h"

#define LUTRA_VECTOR_TARGET
#define LUTRA_VECTOR_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels::neon {

using Vector = float32x4_t;
inline constexpr uint32_t kLanes = 4;
// Register tiles of attend_block: what fits 32 registers beside the operands.
inline constexpr uint32_t kQueryVectors = 3;        // query vectors of a score tile, at most
inline constexpr uint32_t kScoreAccumulators = 24;  // query vectors × positions of a score tile, at most
inline constexpr uint32_t kDimVectors = 3;          // output vectors of an output tile, at most
inline constexpr uint32_t kHeadQueries = 4;         // queries that attend() takes through a head's keys at once, at most
/// Query rows of an output tile, however many vectors it has.
inline constexpr uint32_t output_rows(uint32_t) noexcept { return 4; }

LUTRA_VECTOR_INLINE Vector zero() { return vdupq_n_f32(0.0f); }
LUTRA_VECTOR_INLINE Vector set1(float x) { return vdupq_n_f32(x); }
LUTRA_VECTOR_INLINE Vector load(const float* p) { return vld1q_f32(p); }
LUTRA_VECTOR_INLINE Vector load(const uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
template <class T>
LUTRA_VECTOR_INLINE Vector load_partial(const T* p, size_t n) {
  alignas(16) T buffer[kLanes] = {};
  std::memcpy(buffer, p, n * sizeof(T));
  return load(buffer);
}
LUTRA_VECTOR_INLINE void store(float* p, Vector x) { vst1q_f32(p, x); }
LUTRA_VECTOR_INLINE void store(uint16_t* p, Vector x) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x))); }
template <class T>
LUTRA_VECTOR_INLINE void store_partial(T* p, Vector x, size_t n) {
  alignas(16) T buffer[kLanes];
  store(buffer, x);
  std::memcpy(p, buffer, n * sizeof(T));
}

/// a < b ? x : y per lane.
LUTRA_VECTOR_INLINE Vector select_less(Vector a, Vector b, Vector x, Vector y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
LUTRA_VECTOR_INLINE Vector add(Vector a, Vector b) { return vaddq_f32(a, b); }
LUTRA_VECTOR_INLINE Vector sub(Vector a, Vector b) { return vsubq_f32(a, b); }
LUTRA_VECTOR_INLINE Vector mul(Vector a, Vector b) { return vmulq_f32(a, b); }
LUTRA_VECTOR_INLINE Vector div(Vector a, Vector b) { return vdivq_f32(a, b); }
LUTRA_VECTOR_INLINE Vector max(Vector a, Vector b) { return select_less(b, a, a, b); }  // b when one is NaN
LUTRA_VECTOR_INLINE Vector min(Vector a, Vector b) { return select_less(a, b, a, b); }
LUTRA_VECTOR_INLINE Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }   // a·b + c
LUTRA_VECTOR_INLINE Vector fnma(Vector a, Vector b, Vector c) { return vfmsq_f32(c, a, b); }  // c − a·b
LUTRA_VECTOR_INLINE Vector rint(Vector x) { return vrndnq_f32(x); }
/// NaN becomes 0.
LUTRA_VECTOR_INLINE Vector drop_nan(Vector x) { return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), vceqq_f32(x, x))); }

LUTRA_VECTOR_INLINE Vector power_of_two(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
/// x · 2^n for integral n in ±250; overflows to infinity, underflows through subnormals to 0.
LUTRA_VECTOR_INLINE Vector scale_by_power(Vector x, Vector n) {
  // In two steps, since neither 2^128 nor 2^−140 is a float.
  const int32x4_t whole = vcvtnq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  return vmulq_f32(vmulq_f32(x, power_of_two(half)), power_of_two(vsubq_s32(whole, half)));
}

LUTRA_VECTOR_INLINE float sum_lanes(Vector x) { return vaddvq_f32(x); }
LUTRA_VECTOR_INLINE float max_lane(Vector x) { return vmaxvq_f32(x); }

/// The first half of sums over lanes: of four vectors x, what join() makes into their sums.
LUTRA_VECTOR_INLINE Vector fold(const Vector* x) { return vpaddq_f32(vpaddq_f32(x[0], x[1]), vpaddq_f32(x[2], x[3])); }
/// Lane i of the result is the sum of the lanes of vector i of the kLanes that were folded.
LUTRA_VECTOR_INLINE Vector join(const Vector* folded) { return folded[0]; }

/// x[i] lane j ↔ x[j] lane i.
LUTRA_VECTOR_INLINE void transpose(Vector* x) {
  const float32x4x2_t low = vtrnq_f32(x[0], x[1]), high = vtrnq_f32(x[2], x[3]);
  x[0] = vcombine_f32(vget_low_f32(low.val[0]), vget_low_f32(high.val[0]));
  x[1] = vcombine_f32(vget_low_f32(low.val[1]), vget_low_f32(high.val[1]));
  x[2] = vcombine_f32(vget_high_f32(low.val[0]), vget_high_f32(high.val[0]));
  x[3] = vcombine_f32(vget_high_f32(low.val[1]), vget_high_f32(high.val[1]));
}

/// Integral values in the range of the type; the low bits are stored, so negative ones become two's complement.
LUTRA_VECTOR_INLINE uint16x4_t low_words(Vector x) { return vreinterpret_u16_s16(vmovn_s32(vcvtnq_s32_f32(x))); }
LUTRA_VECTOR_INLINE void store_integers(uint8_t* p, Vector x) {
  const uint16x4_t words = low_words(x);
  const uint32_t bytes = vget_lane_u32(vreinterpret_u32_u8(vmovn_u16(vcombine_u16(words, words))), 0);
  std::memcpy(p, &bytes, sizeof bytes);
}
LUTRA_VECTOR_INLINE void store_integers(uint16_t* p, Vector x) { vst1_u16(p, low_words(x)); }
LUTRA_VECTOR_INLINE uint32x2_t four_bytes(const void* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return vdup_n_u32(bytes);
}
LUTRA_VECTOR_INLINE Vector load_integers(const uint8_t* p) { return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(four_bytes(p)))))); }
LUTRA_VECTOR_INLINE Vector load_integers(const int8_t* p) { return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(four_bytes(p)))))); }
LUTRA_VECTOR_INLINE Vector load_integers(const uint16_t* p) { return vcvtq_f32_u32(vmovl_u16(vld1_u16(p))); }
LUTRA_VECTOR_INLINE Vector load(const int8_t* p) { return load_integers(p); }
LUTRA_VECTOR_INLINE Vector load_partial(const int8_t* p, size_t n) {
  int8_t buffer[kLanes] = {};
  std::memcpy(buffer, p, n);
  return load(buffer);
}

}  // namespace lutra::kernels::neon
#endif
