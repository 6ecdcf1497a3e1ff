#include "kernels/npu_ops/npu_ops_kernels.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#include <cmath>
#include <cstring>

#define LUTRA_VECTOR LUTRA_TARGET_AVX2
#define LUTRA_VECTOR_INLINE LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

struct Vector {
  static constexpr size_t kLanes = 8;
  using Value = __m256;

  /// An encoding, spread over the lanes.
  struct Coding {
    LUTRA_VECTOR_INLINE Coding(Affine affine, Element type)
        : scale(_mm256_set1_ps(affine.scale)),
          lo(_mm256_set1_ps(static_cast<float>(lowest_code(type) + affine.offset))),
          hi(_mm256_set1_ps(static_cast<float>(highest_code(type) + affine.offset))),
          offset(_mm256_set1_epi32(affine.offset)) {}
    __m256 scale, lo, hi;
    __m256i offset;
  };

  template <Element T>
  LUTRA_VECTOR_INLINE static Value load(const std::byte* p, const Coding& code) {
    if constexpr (T == Element::kF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
    if constexpr (T == Element::kF16) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    if constexpr (T == Element::kU8) return real(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), code);
    if constexpr (T == Element::kS8) return real(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), code);
    if constexpr (T == Element::kU16) return real(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), code);
    if constexpr (T == Element::kS16) return real(_mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), code);
  }
  template <Element T>
  LUTRA_VECTOR_INLINE static void store(std::byte* p, Value v, const Coding& code) {
    if constexpr (T == Element::kF32) _mm256_storeu_ps(reinterpret_cast<float*>(p), v);
    if constexpr (T == Element::kF16) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, kRound));
    if constexpr (T == Element::kU16) {
      const __m256i codes = quantise(v, code);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
    }
    if constexpr (T == Element::kS16) {
      const __m256i codes = quantise(v, code);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1)));
    }
    if constexpr (T == Element::kU8 || T == Element::kS8) {
      const __m256i codes = _mm256_and_si256(quantise(v, code), _mm256_set1_epi32(0xff));
      const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packus_epi16(words, words));
    }
  }
  LUTRA_VECTOR_INLINE static Value real(__m256i codes, const Coding& code) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(codes, code.offset)), code.scale);
  }
  LUTRA_VECTOR_INLINE static __m256i quantise(Value v, const Coding& code) {
    const __m256 steps = _mm256_div_ps(v, code.scale);
    const __m256 number = _mm256_and_ps(_mm256_cmp_ps(steps, steps, _CMP_ORD_Q), steps);
    const __m256 rounded = _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(number, code.lo), code.hi), kRound);
    return _mm256_sub_epi32(_mm256_cvtps_epi32(rounded), code.offset);
  }

  LUTRA_VECTOR_INLINE static Value load_floats(const float* p) { return _mm256_loadu_ps(p); }
  LUTRA_VECTOR_INLINE static Value set(float v) { return _mm256_set1_ps(v); }
  LUTRA_VECTOR_INLINE static Value add(Value a, Value b) { return _mm256_add_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value sub(Value a, Value b) { return _mm256_sub_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value mul(Value a, Value b) { return _mm256_mul_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value div(Value a, Value b) { return _mm256_div_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value min(Value a, Value b) { return _mm256_min_ps(a, b); }  // b when one is NaN
  LUTRA_VECTOR_INLINE static Value max(Value a, Value b) { return _mm256_max_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value fmadd(Value a, Value b, Value c) { return _mm256_fmadd_ps(a, b, c); }
  LUTRA_VECTOR_INLINE static Value fnmadd(Value a, Value b, Value c) { return _mm256_fnmadd_ps(a, b, c); }
  LUTRA_VECTOR_INLINE static Value round(Value a) { return _mm256_round_ps(a, kRound); }
  /// a · 2^n for |n| ≤ 126, by the exponent bits of 2^n.
  LUTRA_VECTOR_INLINE static Value scale_by_power(Value a, Value n) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(a, _mm256_castsi256_ps(exponent));
  }
};

#include "kernels/npu_ops/npu_ops_vector.h"
#include "kernels/npu_ops/npu_ops_rows_vector.h"

}  // namespace

const NpuOpKernels kNpuOpsAvx2 = {"avx2", Isa::kAvx2, convert, unary, binary, rms_norm, layer_norm, softmax};

}  // namespace lutra::kernels
#endif
