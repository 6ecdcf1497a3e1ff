// What the kernels of low-bit weights on registers of 256 bits share: 16 rows are two of them.
#pragma once

#include "kernels/linear/linear_avx2.h"
#include "kernels/lowbit/lowbit_parts.h"

#ifdef LUTRA_X86
namespace lutra::kernels {

template <size_t Bytes>
LUTRA_INLINE256 void prefetch(const std::byte* p) {
  constexpr size_t kAhead = 8192;
  for (size_t i = 0; i < Bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(p + kAhead + i), _MM_HINT_T0);
}

/// 8 of the 16 numbers behind a group.
LUTRA_INLINE256 __m256 load_numbers(const LowBitFormat& format, const std::byte* numbers, uint32_t half) {
  if (format.group == 0) return _mm256_loadu_ps(reinterpret_cast<const float*>(numbers + 32 * half));
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(numbers + 16 * half)));
}

/// The int32 sums of 16 rows.
LUTRA_INLINE256 void store_sums(int32_t* out, const __m256i (&sums)[2]) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), sums[0]);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 8), sums[1]);
}

}  // namespace lutra::kernels
#endif
