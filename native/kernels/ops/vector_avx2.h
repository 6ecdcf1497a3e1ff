// Vectors of 8 floats for the .inc files. "partial" forms touch the first n < kLanes elements only; other lanes read as 0.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/ops/ops_internal.h"

#define LUTRA_VECTOR_TARGET LUTRA_TARGET_AVX2
#define LUTRA_VECTOR_INLINE LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels::avx2 {

using Vector = __m256;
inline constexpr uint32_t kLanes = 8;
// Register tiles of attend_block: what fits 16 registers beside the operands.
inline constexpr uint32_t kQueryVectors = 3;        // query vectors of a score tile, at most
inline constexpr uint32_t kScoreAccumulators = 12;  // query vectors × positions of a score tile, at most
inline constexpr uint32_t kDimVectors = 2;          // output vectors of an output tile, at most
inline constexpr uint32_t kHeadQueries = 3;         // queries that attend() takes through a head's keys at once, at most
/// Query rows of an output tile of that many vectors.
inline constexpr uint32_t output_rows(uint32_t vectors) noexcept { return vectors == 1 ? kLanes : vectors == 2 ? kLanes / 2 : kLanes / 4; }

LUTRA_VECTOR_INLINE __m256i lanes(size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LUTRA_VECTOR_INLINE Vector zero() { return _mm256_setzero_ps(); }
LUTRA_VECTOR_INLINE Vector set1(float x) { return _mm256_set1_ps(x); }
LUTRA_VECTOR_INLINE Vector load(const float* p) { return _mm256_loadu_ps(p); }
LUTRA_VECTOR_INLINE Vector load_partial(const float* p, size_t n) { return _mm256_maskload_ps(p, lanes(n)); }
LUTRA_VECTOR_INLINE Vector load(const uint16_t* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
LUTRA_VECTOR_INLINE Vector load_partial(const uint16_t* p, size_t n) {
  alignas(16) uint16_t buffer[kLanes] = {};
  std::memcpy(buffer, p, n * sizeof(uint16_t));
  return load(buffer);
}
LUTRA_VECTOR_INLINE void store(float* p, Vector x) { _mm256_storeu_ps(p, x); }
LUTRA_VECTOR_INLINE void store_partial(float* p, Vector x, size_t n) { _mm256_maskstore_ps(p, lanes(n), x); }
LUTRA_VECTOR_INLINE void store(uint16_t* p, Vector x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
LUTRA_VECTOR_INLINE void store_partial(uint16_t* p, Vector x, size_t n) {
  alignas(16) uint16_t buffer[kLanes];
  store(buffer, x);
  std::memcpy(p, buffer, n * sizeof(uint16_t));
}

LUTRA_VECTOR_INLINE Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
LUTRA_VECTOR_INLINE Vector sub(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
LUTRA_VECTOR_INLINE Vector mul(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
LUTRA_VECTOR_INLINE Vector div(Vector a, Vector b) { return _mm256_div_ps(a, b); }
LUTRA_VECTOR_INLINE Vector max(Vector a, Vector b) { return _mm256_max_ps(a, b); }
LUTRA_VECTOR_INLINE Vector min(Vector a, Vector b) { return _mm256_min_ps(a, b); }
LUTRA_VECTOR_INLINE Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }    // a·b + c
LUTRA_VECTOR_INLINE Vector fnma(Vector a, Vector b, Vector c) { return _mm256_fnmadd_ps(a, b, c); }  // c − a·b
LUTRA_VECTOR_INLINE Vector rint(Vector x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
/// a < b ? x : y per lane.
LUTRA_VECTOR_INLINE Vector select_less(Vector a, Vector b, Vector x, Vector y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
/// NaN becomes 0.
LUTRA_VECTOR_INLINE Vector drop_nan(Vector x) { return _mm256_and_ps(x, _mm256_cmp_ps(x, x, _CMP_ORD_Q)); }

LUTRA_VECTOR_INLINE Vector power_of_two(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
/// x · 2^n for integral n in ±250; overflows to infinity, underflows through subnormals to 0.
LUTRA_VECTOR_INLINE Vector scale_by_power(Vector x, Vector n) {
  // In two steps, since neither 2^128 nor 2^−140 is a float.
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  return _mm256_mul_ps(_mm256_mul_ps(x, power_of_two(half)), power_of_two(_mm256_sub_epi32(whole, half)));
}

LUTRA_VECTOR_INLINE float sum_lanes(Vector x) {
  __m128 t = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  t = _mm_add_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
LUTRA_VECTOR_INLINE float max_lane(Vector x) {
  __m128 t = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  t = _mm_max_ps(t, _mm_movehl_ps(t, t));
  return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}

/// The first half of sums over lanes: of four vectors x, what join() makes into their sums.
LUTRA_VECTOR_INLINE Vector fold(const Vector* x) {
  const __m256d a = _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(x[0], x[1]), _mm256_unpackhi_ps(x[0], x[1])));
  const __m256d b = _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(x[2], x[3]), _mm256_unpackhi_ps(x[2], x[3])));
  return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(a, b)), _mm256_castpd_ps(_mm256_unpackhi_pd(a, b)));
}
/// Lane i of the result is the sum of the lanes of vector i of the kLanes that were folded.
LUTRA_VECTOR_INLINE Vector join(const Vector* folded) {
  return _mm256_add_ps(_mm256_permute2f128_ps(folded[0], folded[1], 0x20), _mm256_permute2f128_ps(folded[0], folded[1], 0x31));
}

/// x[i] lane j ↔ x[j] lane i.
LUTRA_VECTOR_INLINE void transpose(Vector* x) {
  Vector t[8], u[8];
  LUTRA_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
  }
  // Now 4 × 4 blocks within 128-bit lanes: u[4b + c] lane l holds rows 4b … 4b + 3 of column 4l + c.
  LUTRA_UNROLL
  for (int b = 0; b < 2; ++b) {
    const __m256d lo0 = _mm256_castps_pd(t[4 * b]), hi0 = _mm256_castps_pd(t[4 * b + 1]), lo1 = _mm256_castps_pd(t[4 * b + 2]), hi1 = _mm256_castps_pd(t[4 * b + 3]);
    u[4 * b] = _mm256_castpd_ps(_mm256_unpacklo_pd(lo0, lo1));
    u[4 * b + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(lo0, lo1));
    u[4 * b + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(hi0, hi1));
    u[4 * b + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(hi0, hi1));
  }
  LUTRA_UNROLL
  for (int c = 0; c < 4; ++c) {
    x[c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x20);
    x[4 + c] = _mm256_permute2f128_ps(u[c], u[4 + c], 0x31);
  }
}

/// Integral values in the range of the type; the low bits are stored, so negative ones become two's complement.
LUTRA_VECTOR_INLINE __m128i low_words(Vector x) {
  const __m256i words = _mm256_and_si256(_mm256_cvtps_epi32(x), _mm256_set1_epi32(0xffff));
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
LUTRA_VECTOR_INLINE void store_integers(uint8_t* p, Vector x) {
  const __m128i bytes = _mm_and_si128(low_words(x), _mm_set1_epi16(0xff));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(bytes, bytes));
}
LUTRA_VECTOR_INLINE void store_integers(uint16_t* p, Vector x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), low_words(x)); }
LUTRA_VECTOR_INLINE Vector load_integers(const uint8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load_integers(const int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load_integers(const uint16_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_VECTOR_INLINE Vector load(const int8_t* p) { return load_integers(p); }
LUTRA_VECTOR_INLINE Vector load_partial(const int8_t* p, size_t n) {
  int8_t buffer[kLanes] = {};
  std::memcpy(buffer, p, n);
  return load(buffer);
}

}  // namespace lutra::kernels::avx2
#endif
