// AVX2 shadow linear: whole groups of 8 in registers, what is left element by element.
#include <cmath>

#include "kernels/shadow/shadow_internal.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

LUTRA_INLINE256 __m256 load_weights(const int8_t* p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)))); }
LUTRA_INLINE256 __m256 steps_of(__m256 x, const ClipRange& range) {
  return _mm256_round_ps(_mm256_div_ps(x, _mm256_set1_ps(range.scale)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LUTRA_INLINE256 __m256 clipped_lanes(__m256 x, const ClipRange& range) {
  return _mm256_or_ps(_mm256_cmp_ps(x, _mm256_set1_ps(range.most), _CMP_GT_OQ), _mm256_cmp_ps(x, _mm256_set1_ps(range.least), _CMP_LT_OQ));
}
/// Up to 8 elements from p, the rest 0.
LUTRA_INLINE256 __m256 load_some(const float* p, uint32_t count) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane));
}

struct Avx2 {
  LUTRA_TARGET_AVX2 static uint32_t collect(const float* x, uint32_t in, const ClipRange& range, float* list) noexcept {
    uint32_t count = 0;
    for (uint32_t k = 0; k < in; k += 8) {
      const uint32_t left = in - k < 8 ? in - k : 8;
      auto hit = static_cast<uint32_t>(_mm256_movemask_ps(clipped_lanes(load_some(x + k, left), range))) & ((1u << left) - 1u);
      for (; hit != 0; hit &= hit - 1) put_index(list, count++, k + static_cast<uint32_t>(std::countr_zero(hit)));
    }
    return count;
  }

  /// Four rows of W in one pass over the sums.
  LUTRA_TARGET_AVX2 static void add_four(const ShadowWeight& w, const int8_t* const (&rows)[4], const float (&residuals)[4], float* sums) noexcept {
    uint32_t o = 0;
    for (; o + 8 <= w.out; o += 8) {
      __m256 sum = _mm256_loadu_ps(sums + o);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum = _mm256_fmadd_ps(_mm256_set1_ps(residuals[i]), load_weights(rows[i] + o), sum);
      _mm256_storeu_ps(sums + o, sum);
    }
    for (; o < w.out; ++o) {
      for (int i = 0; i < 4; ++i) sums[o] += residuals[i] * static_cast<float>(rows[i][o]);
    }
  }

  static void add_rows(const ShadowWeight& w, const float* x, const ClipRange& range, const float* list, uint32_t count, float* sums) noexcept {
    add_rows_by_four(w, x, range, list, count, sums, add_four);
  }

  LUTRA_TARGET_AVX2 static void effective(const float* x, uint32_t in, const ClipRange& range, float* out) noexcept {
    for (uint32_t k = 0; k < in; k += 8) {
      const uint32_t left = in - k < 8 ? in - k : 8;
      const __m256 value = load_some(x + k, left);
      const __m256 steps = steps_of(value, range);
      const __m256 dequantised = _mm256_and_ps(_mm256_cmp_ps(value, value, _CMP_ORD_Q), _mm256_mul_ps(steps, _mm256_set1_ps(range.scale)));
      const __m256 result = _mm256_blendv_ps(dequantised, value, clipped_lanes(value, range));
      alignas(32) float lanes[8];
      _mm256_store_ps(lanes, result);
      std::memcpy(out + k, lanes, left * sizeof(float));
    }
  }

  LUTRA_TARGET_AVX2 static void whole(const ShadowWeight& w, const float* values, uint32_t first, float* lanes) noexcept {
    if (w.out - first < kShadowLanes) return whole_of_last(w, values, first, lanes);
    const int8_t* column = w.w + first;
    // Rows by their number modulo 4, so that an addition need not wait for the one before it.
    __m256 sum[8] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    const auto add = [&](uint32_t k, __m256& low, __m256& high) LUTRA_TARGET_AVX2 {
      const __m256 value = _mm256_set1_ps(values[k]);
      const int8_t* row = column + static_cast<size_t>(k) * w.out;
      low = _mm256_fmadd_ps(value, load_weights(row), low);
      high = _mm256_fmadd_ps(value, load_weights(row + 8), high);
    };
    uint32_t k = 0;
    for (; k + 4 <= w.in; k += 4) {
#pragma GCC unroll 4
      for (uint32_t i = 0; i < 4; ++i) add(k + i, sum[2 * i], sum[2 * i + 1]);
    }
    for (; k < w.in; ++k) add(k, sum[0], sum[1]);
    for (uint32_t i = 0; i < 2; ++i) {
      _mm256_storeu_ps(lanes + 8 * i, _mm256_add_ps(_mm256_add_ps(sum[i], sum[2 + i]), _mm256_add_ps(sum[4 + i], sum[6 + i])));
    }
  }

  LUTRA_TARGET_AVX2 static void combine(const ShadowWeight& w, const float* sums, const float* base, const uint8_t* yq, const Encoding& e, float* y) noexcept {
    uint32_t o = 0;
    for (; o + 8 <= w.out; o += 8) {
      __m256 value = _mm256_mul_ps(_mm256_loadu_ps(sums + o), _mm256_loadu_ps(w.scale + o));
      if (yq != nullptr) {
        const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(yq + o));
        const __m256i q = e.lo < 0 ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes);
        const __m256i full = _mm256_or_si256(_mm256_cmpeq_epi32(q, _mm256_set1_epi32(e.lo)), _mm256_cmpeq_epi32(q, _mm256_set1_epi32(e.hi)));
        const __m256 dequantised = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(q, _mm256_set1_epi32(e.offset))), _mm256_set1_ps(e.scale));
        value = _mm256_add_ps(value, _mm256_andnot_ps(_mm256_castsi256_ps(full), dequantised));
      }
      if (base != nullptr) value = _mm256_add_ps(_mm256_loadu_ps(base + o), value);
      _mm256_storeu_ps(y + o, value);
    }
    for (; o < w.out; ++o) y[o] = combine_one(w, sums, base, yq, e, o);
  }
};

}  // namespace

const ShadowKernel kAvx2Shadow = {"avx2", Isa::kAvx2, shadow_row<Avx2>};

}  // namespace lutra::kernels
#endif
