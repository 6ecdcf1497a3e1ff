// Sums of products of bytes with VPDPBUSD: four products of unsigned codes and signed activations added to each of eight words, which are eight rows of weights. It does not saturate.
#pragma once

#include "kernels/avx2.h"

#ifdef LUTRA_X86
#define LUTRA_DOTS_TARGET LUTRA_TARGET_AVXVNNI
#define LUTRA_DOTS_INLINE LUTRA_TARGET_AVXVNNI __attribute__((always_inline)) inline

namespace lutra::kernels::avxvnni {

/// sums += codes below 16 · four columns of x.
LUTRA_DOTS_INLINE void add_small(__m256i& sums, __m256i codes, __m256i x) { sums = _mm256_dpbusd_avx_epi32(sums, codes, x); }
LUTRA_DOTS_INLINE __m256i small_total(__m256i sums) { return sums; }

/// Signed codes of 8 bits, plus 128.
struct ByteCodes {
  __m256i codes;
  explicit LUTRA_DOTS_INLINE ByteCodes(__m256i signed_codes) : codes(_mm256_xor_si256(signed_codes, _mm256_set1_epi8(static_cast<char>(0x80)))) {}
};
/// Whether a byte counts as its code + 128.
inline constexpr bool kFlipsBytes = true;

/// sums += (codes + 128) · four columns of x.
LUTRA_DOTS_INLINE void add_bytes(__m256i& sums, const ByteCodes& w, __m256i x) { sums = _mm256_dpbusd_avx_epi32(sums, w.codes, x); }

}  // namespace lutra::kernels::avxvnni
#endif
