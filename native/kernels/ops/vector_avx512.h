// Vectors of 16 floats for the .inc files. "partial" forms touch the first n < kLanes elements only; other lanes read as 0.
#pragma once

#include "kernels/avx512.h"

#ifdef LUTRA_X86
#include <cstdint>
#include <cstring>

#include "kernels/ops/ops_internal.h"

#define LUTRA_VECTOR_TARGET LUTRA_TARGET_AVX512
#define LUTRA_VECTOR_INLINE LUTRA_INLINE512

namespace lutra::kernels::avx512 {

using Vector = __m512;
inline constexpr uint32_t kLanes = 16;
// Register tiles of attend_block: what fits 32 registers beside the operands.
inline constexpr uint32_t kQueryVectors = 6;        // query vectors of a score tile, at most
inline constexpr uint32_t kScoreAccumulators = 24;  // query vectors × positions of a score tile, at most
inline constexpr uint32_t kDimVectors = 4;          // output vectors of an output tile, at most
inline constexpr uint32_t kHeadQueries = 4;         // queries that attend() takes through a head's keys at once, at most
/// Query rows of an output tile of that many vectors.
inline constexpr uint32_t output_rows(uint32_t vectors) noexcept { return vectors == 1 ? kLanes : vectors == 2 ? kLanes / 2 : kLanes / 4; }

LUTRA_VECTOR_INLINE __mmask16 lanes(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }

LUTRA_VECTOR_INLINE Vector zero() { return _mm512_setzero_ps(); }
LUTRA_VECTOR_INLINE Vector set1(float x) { return _mm512_set1_ps(x); }
LUTRA_VECTOR_INLINE Vector load(const float* p) { return _mm512_loadu_ps(p); }
LUTRA_VECTOR_INLINE Vector load_partial(const float* p, size_t n) { return _mm512_maskz_loadu_ps(lanes(n), p); }
LUTRA_VECTOR_INLINE Vector load(const uint16_t* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
LUTRA_VECTOR_INLINE Vector load_partial(const uint16_t* p, size_t n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes(n), p)); }
LUTRA_VECTOR_INLINE void store(float* p, Vector x) { _mm512_storeu_ps(p, x); }
LUTRA_VECTOR_INLINE void store_partial(float* p, Vector x, size_t n) { _mm512_mask_storeu_ps(p, lanes(n), x); }
LUTRA_VECTOR_INLINE void store(uint16_t* p, Vector x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LUTRA_VECTOR_INLINE void store_partial(uint16_t* p, Vector x, size_t n) {
  _mm256_mask_storeu_epi16(p, lanes(n), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

LUTRA_VECTOR_INLINE Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
LUTRA_VECTOR_INLINE Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
LUTRA_VECTOR_INLINE Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
LUTRA_VECTOR_INLINE Vector div(Vector a, Vector b) { return _mm512_div_ps(a, b); }
LUTRA_VECTOR_INLINE Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
LUTRA_VECTOR_INLINE Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
LUTRA_VECTOR_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }      // a·b + c
LUTRA_VECTOR_INLINE Vector fnma(Vector a, Vector b, Vector c) { return _mm512_fnmadd_ps(a, b, c); }    // c − a·b
LUTRA_VECTOR_INLINE Vector rint(Vector x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// a < b ? x : y per lane.
LUTRA_VECTOR_INLINE Vector select_less(Vector a, Vector b, Vector x, Vector y) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x); }
/// NaN becomes 0.
LUTRA_VECTOR_INLINE Vector drop_nan(Vector x) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x); }
/// x · 2^n for integral n in ±300, rounded once; overflows to infinity, underflows through subnormals to 0.
LUTRA_VECTOR_INLINE Vector scale_by_power(Vector x, Vector n) { return _mm512_scalef_ps(x, n); }

LUTRA_VECTOR_INLINE float sum_lanes(Vector x) { return _mm512_reduce_add_ps(x); }
LUTRA_VECTOR_INLINE float max_lane(Vector x) { return _mm512_reduce_max_ps(x); }

/// The first half of sums over lanes: of four vectors x, what join() makes into their sums.
LUTRA_VECTOR_INLINE Vector fold(const Vector* x) {
  // 128-bit lanes to the sums of two, then four neighbours.
  const __m512d a = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1])));
  const __m512d b = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3])));
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
}
/// Lane i of the result is the sum of the lanes of vector i of the kLanes that were folded.
LUTRA_VECTOR_INLINE Vector join(const Vector* folded) {
  Vector x[2];
  LUTRA_UNROLL
  for (int i = 0; i < 2; ++i) {
    const Vector a = folded[2 * i], b = folded[2 * i + 1];
    x[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
  }
  return _mm512_add_ps(_mm512_shuffle_f32x4(x[0], x[1], 0x88), _mm512_shuffle_f32x4(x[0], x[1], 0xdd));
}

/// x[i] lane j ↔ x[j] lane i.
LUTRA_VECTOR_INLINE void transpose(Vector* x) {
  Vector t[16];
  LUTRA_UNROLL
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
  // Now 4 × 4 blocks within 128-bit lanes: x[4b + c] lane l holds rows 4b … 4b + 3 of column 4l + c.
  LUTRA_UNROLL
  for (int b = 0; b < 4; ++b) {
    const __m512d lo0 = _mm512_castps_pd(t[4 * b]), hi0 = _mm512_castps_pd(t[4 * b + 1]), lo1 = _mm512_castps_pd(t[4 * b + 2]), hi1 = _mm512_castps_pd(t[4 * b + 3]);
    x[4 * b] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo0, lo1));
    x[4 * b + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo0, lo1));
    x[4 * b + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(hi0, hi1));
    x[4 * b + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(hi0, hi1));
  }
  LUTRA_UNROLL
  for (int c = 0; c < 4; ++c) {
    const Vector a = _mm512_shuffle_f32x4(x[c], x[4 + c], 0x88), b = _mm512_shuffle_f32x4(x[c], x[4 + c], 0xdd);
    const Vector d = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0x88), e = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0xdd);
    t[c] = _mm512_shuffle_f32x4(a, d, 0x88);
    t[8 + c] = _mm512_shuffle_f32x4(a, d, 0xdd);
    t[4 + c] = _mm512_shuffle_f32x4(b, e, 0x88);
    t[12 + c] = _mm512_shuffle_f32x4(b, e, 0xdd);
  }
  LUTRA_UNROLL
  for (int i = 0; i < 16; ++i) x[i] = t[i];
}

/// Integral values in the range of the type; the low bits are stored, so negative ones become two's complement.
LUTRA_VECTOR_INLINE void store_integers(uint8_t* p, Vector x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(x))); }
LUTRA_VECTOR_INLINE void store_integers(uint16_t* p, Vector x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(x))); }
LUTRA_VECTOR_INLINE Vector load_integers(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load_integers(const int8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load_integers(const uint16_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load(const int8_t* p) { return load_integers(p); }
LUTRA_VECTOR_INLINE Vector load_partial(const int8_t* p, size_t n) {
  int8_t buffer[kLanes] = {};
  std::memcpy(buffer, p, n);
  return load(buffer);
}

}  // namespace lutra::kernels::avx512
#endif
