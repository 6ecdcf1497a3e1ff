// AVX2 with FMA and F16C: the float forms. Register tile: 6 rows × 16 outputs (12 sums, 2 vectors of weights, a broadcast).
#include "kernels/gemm_i8/gemm_kernels.h"

#ifdef LUTRA_X86
#include <algorithm>

#include "kernels/gemm_i8/gemm_avx2.h"

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 6;
constexpr uint32_t kColumns = 16;

template <GemmLayout L>
LUTRA_INLINE256 __m256 load_weights(const std::byte* w) {
  if constexpr (L == GemmLayout::kFloatS8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w))));
  if constexpr (L == GemmLayout::kFloatF16) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  if constexpr (L == GemmLayout::kFloatF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(w));
}

template <GemmLayout L, int R>
LUTRA_TARGET_AVX2 void tile(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  constexpr size_t kElement = gemm_weight_size(L);
  const float* rows[R];
  __m256 sums[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    rows[r] = reinterpret_cast<const float*>(args.x + (row + r) * args.x_stride);
    sums[r][0] = sums[r][1] = _mm256_setzero_ps();
  }
  for (uint32_t k = 0; k < args.depth; ++k, w += kGemmPanel * kElement) {
    const __m256 w0 = load_weights<L>(w), w1 = load_weights<L>(w + 8 * kElement);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m256 x = _mm256_set1_ps(rows[r][k]);
      sums[r][0] = _mm256_fmadd_ps(x, w0, sums[r][0]);
      sums[r][1] = _mm256_fmadd_ps(x, w1, sums[r][1]);
    }
  }
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* bias = args.correction == nullptr ? nullptr : static_cast<const float*>(args.correction) + first;
#pragma GCC unroll 2
  for (int c = 0; c < 2; ++c) {
    if (columns <= c * 8u) break;
    const uint32_t count = std::min(columns - c * 8, 8u);
    const __m256 m = _mm256_loadu_ps(multiplier + c * 8);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      __m256 value = _mm256_mul_ps(sums[r][c], m);
      if (bias != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(bias + c * 8));
      std::byte* y = args.y + (row + r) * args.y_stride;
      if (args.type == Element::kF16) {
        store_elements<2>(y + (first + c * 8) * size_t{2}, _mm256_cvtps_ph(value, kRound256), count);
      } else {
        alignas(32) float values[8];
        _mm256_store_ps(values, value);
        std::memcpy(y + (first + c * 8) * size_t{4}, values, count == 8 ? 32 : count * 4);
      }
    }
  }
}

using Tile = void (*)(const GemmArgs&, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns);
template <GemmLayout L>
constexpr Tile kTiles[kRows + 1] = {nullptr, tile<L, 1>, tile<L, 2>, tile<L, 3>, tile<L, 4>, tile<L, 5>, tile<L, 6>};

template <GemmLayout L>
void run(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  constexpr size_t kElement = gemm_weight_size(L);
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint32_t begin = panel * kGemmPanel, end = std::min(args.outputs, begin + kGemmPanel);
    const std::byte* w = args.packed + size_t{begin} * args.depth * kElement;
    for (uint32_t first = begin; first < end; first += kColumns, w += kColumns * kElement) {
      for (uint32_t row = row_begin; row < row_end; row += kRows) kTiles<L>[std::min(row_end - row, kRows)](args, row, w, first, end - first);
    }
  }
}

}  // namespace

void gemm_run_float_avx2(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  switch (args.layout) {
    case GemmLayout::kFloatS8: return run<GemmLayout::kFloatS8>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kFloatF16: return run<GemmLayout::kFloatF16>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kFloatF32: return run<GemmLayout::kFloatF32>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kDotS8: return;
  }
}

}  // namespace lutra::kernels
#endif
