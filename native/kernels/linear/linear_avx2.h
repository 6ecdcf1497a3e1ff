// What the tiers with registers of 256 bits share.
#pragma once

#include "kernels/avx2.h"
#include "kernels/linear/linear_internal.h"

#ifdef LUTRA_X86
#include <utility>

namespace lutra::kernels {

LUTRA_INLINE256 __m256i broadcast4(const std::byte* p) { return _mm256_set1_epi32(load_as<int32_t>(p)); }
LUTRA_INLINE256 __m256 broadcast_float(const std::byte* p) { return _mm256_set1_ps(load_as<float>(p)); }
LUTRA_INLINE256 __m256 load_halves(const std::byte* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

template <size_t... Line>
LUTRA_INLINE256 void prefetch_lines(const std::byte* p, std::index_sequence<Line...>) {
  (_mm_prefetch(reinterpret_cast<const char*>(p + 64 * Line), _MM_HINT_T0), ...);
}

/// The first `rows` (at most 16) of two registers.
LUTRA_INLINE256 void store_rows(float* y, uint32_t rows, __m256 low, __m256 high) {
  if (rows == kTileRows) {
    _mm256_storeu_ps(y, low);
    _mm256_storeu_ps(y + 8, high);
    return;
  }
  alignas(32) float all[kTileRows];
  _mm256_store_ps(all, low);
  _mm256_store_ps(all + 8, high);
  std::memcpy(y, all, rows * sizeof(float));
}

/// LinearKernel::quantize_rows and run_float.
void quantize_rows_avx2(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out);
void run_float_avx2(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride);

}  // namespace lutra::kernels
#endif
