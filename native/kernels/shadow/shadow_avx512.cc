// AVX-512 shadow linear. Edges are masked loads, which do not touch memory beyond the row.
#include "kernels/avx512.h"
#include "kernels/shadow/shadow_internal.h"

#ifdef LUTRA_X86
namespace lutra::kernels {
namespace {

LUTRA_INLINE512 __mmask16 first_lanes(uint32_t left) { return left < 16 ? static_cast<__mmask16>((1u << left) - 1u) : static_cast<__mmask16>(0xffff); }
LUTRA_INLINE512 __m512 load_weights(const int8_t* p, __mmask16 mask) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p))); }
LUTRA_INLINE512 __m512 steps_of(__m512 x, const ClipRange& range) {
  return _mm512_roundscale_ps(_mm512_div_ps(x, _mm512_set1_ps(range.scale)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
LUTRA_INLINE512 __mmask16 clipped_lanes(__m512 x, const ClipRange& range) {
  return _mm512_cmp_ps_mask(x, _mm512_set1_ps(range.most), _CMP_GT_OQ) | _mm512_cmp_ps_mask(x, _mm512_set1_ps(range.least), _CMP_LT_OQ);
}

struct Avx512 {
  LUTRA_TARGET_AVX512 static uint32_t collect(const float* x, uint32_t in, const ClipRange& range, float* list) noexcept {
    uint32_t count = 0;
    for (uint32_t k = 0; k < in; k += 16) {
      const __mmask16 mask = first_lanes(in - k);
      uint32_t hit = clipped_lanes(_mm512_maskz_loadu_ps(mask, x + k), range) & mask;
      for (; hit != 0; hit &= hit - 1) put_index(list, count++, k + static_cast<uint32_t>(std::countr_zero(hit)));
    }
    return count;
  }

  /// Four rows of W in one pass over the sums.
  LUTRA_TARGET_AVX512 static void add_four(const ShadowWeight& w, const int8_t* const (&rows)[4], const float (&residuals)[4], float* sums) noexcept {
    for (uint32_t o = 0; o < w.out; o += 16) {
      const __mmask16 mask = first_lanes(w.out - o);
      __m512 sum = _mm512_maskz_loadu_ps(mask, sums + o);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) sum = _mm512_fmadd_ps(_mm512_set1_ps(residuals[i]), load_weights(rows[i] + o, mask), sum);
      _mm512_mask_storeu_ps(sums + o, mask, sum);
    }
  }

  static void add_rows(const ShadowWeight& w, const float* x, const ClipRange& range, const float* list, uint32_t count, float* sums) noexcept {
    add_rows_by_four(w, x, range, list, count, sums, add_four);
  }

  LUTRA_TARGET_AVX512 static void effective(const float* x, uint32_t in, const ClipRange& range, float* out) noexcept {
    for (uint32_t k = 0; k < in; k += 16) {
      const __mmask16 mask = first_lanes(in - k);
      const __m512 value = _mm512_maskz_loadu_ps(mask, x + k);
      const __m512 steps = steps_of(value, range);
      const __mmask16 number = _mm512_cmp_ps_mask(value, value, _CMP_ORD_Q);
      const __m512 dequantised = _mm512_maskz_mul_ps(number, steps, _mm512_set1_ps(range.scale));
      _mm512_mask_storeu_ps(out + k, mask, _mm512_mask_mov_ps(dequantised, clipped_lanes(value, range), value));
    }
  }

  LUTRA_TARGET_AVX512 static void whole(const ShadowWeight& w, const float* values, uint32_t first, float* lanes) noexcept {
    const __mmask16 mask = first_lanes(w.out - first);
    const int8_t* column = w.w + first;
    __m512 sum[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
    uint32_t k = 0;
    for (; k + 4 <= w.in; k += 4) {
#pragma GCC unroll 4
      for (uint32_t i = 0; i < 4; ++i) {
        sum[i] = _mm512_fmadd_ps(_mm512_set1_ps(values[k + i]), load_weights(column + static_cast<size_t>(k + i) * w.out, mask), sum[i]);
      }
    }
    for (; k < w.in; ++k) sum[0] = _mm512_fmadd_ps(_mm512_set1_ps(values[k]), load_weights(column + static_cast<size_t>(k) * w.out, mask), sum[0]);
    _mm512_store_ps(lanes, _mm512_add_ps(_mm512_add_ps(sum[0], sum[1]), _mm512_add_ps(sum[2], sum[3])));
  }

  LUTRA_TARGET_AVX512 static void combine(const ShadowWeight& w, const float* sums, const float* base, const uint8_t* yq, const Encoding& e, float* y) noexcept {
    const __m512i low = _mm512_set1_epi32(e.lo), high = _mm512_set1_epi32(e.hi), offset = _mm512_set1_epi32(e.offset);
    for (uint32_t o = 0; o < w.out; o += 16) {
      const __mmask16 mask = first_lanes(w.out - o);
      __m512 value = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, sums + o), _mm512_maskz_loadu_ps(mask, w.scale + o));
      if (yq != nullptr) {
        const __m128i bytes = _mm_maskz_loadu_epi8(mask, yq + o);
        const __m512i q = e.lo < 0 ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes);
        const __mmask16 inside = _mm512_cmpneq_epi32_mask(q, low) & _mm512_cmpneq_epi32_mask(q, high);
        const __m512 steps = _mm512_cvtepi32_ps(_mm512_add_epi32(q, offset));
        value = _mm512_mask_add_ps(value, inside, value, _mm512_mul_ps(steps, _mm512_set1_ps(e.scale)));
      }
      if (base != nullptr) value = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, base + o), value);
      _mm512_mask_storeu_ps(y + o, mask, value);
    }
  }
};

}  // namespace

const ShadowKernel kAvx512Shadow = {"avx512", Isa::kAvx512, shadow_row<Avx512>};

}  // namespace lutra::kernels
#endif
