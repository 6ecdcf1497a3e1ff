#include "kernels/avx512.h"
#include "kernels/npu_ops/npu_ops_kernels.h"

#ifdef LUTRA_X86
#include <cmath>
#include <cstring>

#define LUTRA_VECTOR LUTRA_TARGET_AVX512
#define LUTRA_VECTOR_INLINE LUTRA_INLINE512

namespace lutra::kernels {
namespace {

constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

struct Vector {
  static constexpr size_t kLanes = 16;
  using Value = __m512;

  /// An encoding, spread over the lanes.
  struct Coding {
    LUTRA_VECTOR_INLINE Coding(Affine affine, Element type)
        : scale(_mm512_set1_ps(affine.scale)),
          lo(_mm512_set1_ps(static_cast<float>(lowest_code(type) + affine.offset))),
          hi(_mm512_set1_ps(static_cast<float>(highest_code(type) + affine.offset))),
          offset(_mm512_set1_epi32(affine.offset)) {}
    __m512 scale, lo, hi;
    __m512i offset;
  };

  template <Element T>
  LUTRA_VECTOR_INLINE static Value load(const std::byte* p, const Coding& code) {
    if constexpr (T == Element::kF32) return _mm512_loadu_ps(p);
    if constexpr (T == Element::kF16) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    if constexpr (T == Element::kU8) return real(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), code);
    if constexpr (T == Element::kS8) return real(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), code);
    if constexpr (T == Element::kU16) return real(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), code);
    if constexpr (T == Element::kS16) return real(_mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), code);
  }
  template <Element T>
  LUTRA_VECTOR_INLINE static void store(std::byte* p, Value v, const Coding& code) {
    if constexpr (T == Element::kF32) _mm512_storeu_ps(p, v);
    if constexpr (T == Element::kF16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, kRound));
    if constexpr (T == Element::kU8 || T == Element::kS8) _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(quantise(v, code)));
    if constexpr (T == Element::kU16 || T == Element::kS16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(quantise(v, code)));
  }
  LUTRA_VECTOR_INLINE static Value real(__m512i codes, const Coding& code) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(codes, code.offset)), code.scale);
  }
  LUTRA_VECTOR_INLINE static __m512i quantise(Value v, const Coding& code) {
    const __m512 steps = _mm512_div_ps(v, code.scale);
    const __m512 number = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(steps, steps, _CMP_ORD_Q), steps);
    return _mm512_sub_epi32(_mm512_cvt_roundps_epi32(_mm512_min_ps(_mm512_max_ps(number, code.lo), code.hi), kRound), code.offset);
  }

  LUTRA_VECTOR_INLINE static Value load_floats(const float* p) { return _mm512_loadu_ps(p); }
  LUTRA_VECTOR_INLINE static Value set(float v) { return _mm512_set1_ps(v); }
  LUTRA_VECTOR_INLINE static Value add(Value a, Value b) { return _mm512_add_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value sub(Value a, Value b) { return _mm512_sub_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value mul(Value a, Value b) { return _mm512_mul_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value div(Value a, Value b) { return _mm512_div_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value min(Value a, Value b) { return _mm512_min_ps(a, b); }  // b when one is NaN
  LUTRA_VECTOR_INLINE static Value max(Value a, Value b) { return _mm512_max_ps(a, b); }
  LUTRA_VECTOR_INLINE static Value fmadd(Value a, Value b, Value c) { return _mm512_fmadd_ps(a, b, c); }
  LUTRA_VECTOR_INLINE static Value fnmadd(Value a, Value b, Value c) { return _mm512_fnmadd_ps(a, b, c); }
  LUTRA_VECTOR_INLINE static Value round(Value a) { return _mm512_roundscale_ps(a, kRound); }
  LUTRA_VECTOR_INLINE static Value scale_by_power(Value a, Value n) { return _mm512_scalef_ps(a, n); }
};

#include "kernels/npu_ops/npu_ops_vector.h"
#include "kernels/npu_ops/npu_ops_rows_vector.h"

}  // namespace

const NpuOpKernels kNpuOpsAvx512 = {"avx512", Isa::kAvx512, convert, unary, binary, rms_norm, layer_norm, softmax};

}  // namespace lutra::kernels
#endif
