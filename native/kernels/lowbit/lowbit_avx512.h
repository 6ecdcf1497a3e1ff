// What the AVX-512 kernels of low-bit weights share: 16 rows are one register, a 32-bit lane a row.
#pragma once

#include "kernels/avx512.h"
#include "kernels/lowbit/lowbit_parts.h"

#ifdef LUTRA_X86
namespace lutra::kernels {

template <size_t Bytes>
LUTRA_INLINE512 void prefetch512(const std::byte* p) {
  constexpr size_t kAhead = 8192;
  for (size_t i = 0; i < Bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + i), _MM_HINT_T0);
}

LUTRA_INLINE512 __m512i load512(const std::byte* p) { return _mm512_loadu_si512(p); }

/// Four bytes of every lane.
LUTRA_INLINE512 __m512i repeat_word(uint32_t word) { return _mm512_set1_epi32(static_cast<int>(word)); }

/// The 16 numbers behind a group.
LUTRA_INLINE512 __m512 load_numbers512(const LowBitFormat& format, const std::byte* numbers) {
  if (format.group == 0) return _mm512_loadu_ps(reinterpret_cast<const float*>(numbers));
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers)));
}

/// y += what a group adds, for one row of x.
LUTRA_INLINE512 void finish512(const LowBitFormat& format, const GroupTerms& terms, const std::byte* numbers, __m512 total, float x, __m512& y) {
  const __m512 sum = _mm512_set1_ps(x), d = load_numbers512(format, numbers);
  __m512 c = _mm512_set1_ps(terms.c), result = y;
  if (format.offset != Offset::kNone) {
    const __m512 offset = load_numbers512(format, numbers + kTileRows * number_bytes(format));
    if (format.offset == Offset::kZero) c = _mm512_sub_ps(c, offset);
    else result = _mm512_fmadd_ps(offset, sum, result);
  }
  y = _mm512_fmadd_ps(d, _mm512_fmadd_ps(c, sum, total), result);
}

}  // namespace lutra::kernels
#endif
