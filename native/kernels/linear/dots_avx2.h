// Sums of products of bytes with VPMADDUBSW, which adds two of them in 16 bits, without loss for what is multiplied here. A register is eight rows of weights, a 32-bit lane a row.
#pragma once

#include "kernels/avx2.h"

#ifdef LUTRA_X86
#define LUTRA_DOTS_TARGET LUTRA_TARGET_AVX2
#define LUTRA_DOTS_INLINE LUTRA_INLINE256

namespace lutra::kernels::avx2 {

/// sums += codes below 16 · four columns of x. Eight such sums of at most 2 · 15 · 127 fit in 16 bits, so they are widened once, by small_total.
LUTRA_DOTS_INLINE void add_small(__m256i& sums, __m256i codes, __m256i x) {
  sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(codes, x));
  asm("" : "+x"(sums));  // added now: as a tree the products of a block would not find registers
}
LUTRA_DOTS_INLINE __m256i small_total(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

/// Signed codes of 8 bits.
struct ByteCodes {
  __m256i codes, size;
  explicit LUTRA_DOTS_INLINE ByteCodes(__m256i signed_codes) : codes(signed_codes), size(_mm256_abs_epi8(signed_codes)) {}
};
/// Whether a byte counts as its code + 128.
inline constexpr bool kFlipsBytes = false;

/// sums += codes · four columns of x, which have the sign of the codes when they are multiplied: 2 · 128 · 127 fits in 16 bits (x is never −128).
LUTRA_DOTS_INLINE void add_bytes(__m256i& sums, const ByteCodes& w, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(w.size, _mm256_sign_epi8(x, w.codes));
  sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

}  // namespace lutra::kernels::avx2
#endif
