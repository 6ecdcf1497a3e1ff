// What the tiers with registers of 256 bits share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/avx2.h"
#include "kernels/gemm_i8/gemm_kernels.h"

namespace lutra::kernels {

inline constexpr int kRound256 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Stores the first `count` (1 … 8) of eight elements of `Size` bytes, which `elements` begins with.
template <size_t Size>
LUTRA_INLINE256 void store_elements(std::byte* y, __m128i elements, uint32_t count) {
  alignas(16) std::byte bytes[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes), elements);
  if (count == 8) {
    std::memcpy(y, bytes, 8 * Size);
  } else {
    std::memcpy(y, bytes, count * Size);
  }
}

/// Codes of 32 outputs from 32-bit ones, which are in range.
LUTRA_INLINE256 __m256i narrow_8(const __m256i (&codes)[4], bool is_signed) {
  const __m256i low = _mm256_packs_epi32(codes[0], codes[1]), high = _mm256_packs_epi32(codes[2], codes[3]);
  const __m256i bytes = is_signed ? _mm256_packs_epi16(low, high) : _mm256_packus_epi16(low, high);
  return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/// Eight sums, or the sums of eight pairs.
template <uint32_t Each>
LUTRA_INLINE256 __m256i eight_sums(const int32_t* sums) {
  const auto* from = reinterpret_cast<const __m256i*>(sums);
  if constexpr (Each == 1) return _mm256_load_si256(from);
  return _mm256_permute4x64_epi64(_mm256_hadd_epi32(_mm256_load_si256(from), _mm256_load_si256(from + 1)), 0xd8);
}

/// Stores row `row` of y, outputs first … first + columns − 1 of a panel, in codes of 8 bits. `sums`: Each 32-bit numbers for every output of the panel, which are added; aligned to 32.
template <uint32_t Each>
LUTRA_TARGET_AVX2 inline void store_row_8(const GemmArgs& args, uint32_t row, uint32_t first, uint32_t columns, const int32_t* sums) {
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* correction = static_cast<const int32_t*>(args.correction) + first;
  const __m256 lo = _mm256_set1_ps(static_cast<float>(lowest_code(args.type) + args.offset));
  const __m256 hi = _mm256_set1_ps(static_cast<float>(highest_code(args.type) + args.offset));
  const __m256i offset = _mm256_set1_epi32(args.offset);
  const __m256i terms = _mm256_set1_epi32(args.row_correction == nullptr ? 0 : static_cast<const int32_t*>(args.row_correction)[row]);
  std::byte* y = args.y + row * args.y_stride + first;
  std::byte some[kGemmPanel];
  std::byte* to = columns == kGemmPanel ? y : some;
  for (uint32_t half = 0; half < kGemmPanel; half += 32) {
    __m256i codes[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t c = half + i * 8;
      const __m256i total = _mm256_add_epi32(_mm256_add_epi32(eight_sums<Each>(sums + Each * c), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(correction + c))), terms);
      const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(total), _mm256_loadu_ps(multiplier + c));
      codes[i] = _mm256_sub_epi32(_mm256_cvtps_epi32(_mm256_round_ps(_mm256_min_ps(_mm256_max_ps(value, lo), hi), kRound256)), offset);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + half), narrow_8(codes, args.type == Element::kS8));
  }
  if (to == some) std::memcpy(y, some, columns);
}

/// The same in codes of 16 bits from the sums of the panel as doubles.
LUTRA_TARGET_AVX2 inline void store_row_16(const GemmArgs& args, uint32_t row, uint32_t first, uint32_t columns, const double* sums) {
  const auto* multiplier = static_cast<const double*>(args.multiplier) + first;
  const auto* correction = static_cast<const double*>(args.correction) + first;
  const __m256d lo = _mm256_set1_pd(lowest_code(args.type) + args.offset), hi = _mm256_set1_pd(highest_code(args.type) + args.offset);
  const __m256d terms = _mm256_set1_pd(args.row_correction == nullptr ? 0.0 : static_cast<const double*>(args.row_correction)[row]);
  const __m128i offset = _mm_set1_epi32(args.offset);
  std::byte* y = args.y + row * args.y_stride + first * size_t{2};
  std::byte some[kGemmPanel * 2];
  std::byte* to = columns == kGemmPanel ? y : some;
  for (uint32_t c = 0; c < kGemmPanel; c += 8) {
    __m128i codes[2];
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t at = c + i * 4;
      const __m256d sum = _mm256_add_pd(_mm256_load_pd(sums + at), _mm256_add_pd(_mm256_loadu_pd(correction + at), terms));
      const __m256d value = _mm256_min_pd(_mm256_max_pd(_mm256_mul_pd(sum, _mm256_loadu_pd(multiplier + at)), lo), hi);
      codes[i] = _mm_and_si128(_mm_sub_epi32(_mm256_cvtpd_epi32(_mm256_round_pd(value, kRound256)), offset), _mm_set1_epi32(0xffff));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + c * size_t{2}), _mm_packus_epi32(codes[0], codes[1]));
  }
  if (to == some) std::memcpy(y, some, columns * size_t{2});
}

}  // namespace lutra::kernels
