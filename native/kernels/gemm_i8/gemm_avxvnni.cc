// VPDPBUSD on registers of 256 bits. Register tile: 6 byte rows × 16 outputs (12 sums, 2 vectors of weights, a broadcast). As with AVX-512, U8 codes go in as they are and a U16 row is two byte rows.
#include "kernels/gemm_i8/gemm_kernels.h"

#ifdef LUTRA_X86
#include <algorithm>

#include "kernels/gemm_i8/gemm_avx2.h"

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 6;
constexpr uint32_t kColumns = 16;
constexpr size_t kAhead = 8 * 4 * kGemmPanel;  // bytes of weights that are fetched before their turn

/// Σ of R byte rows × 16 outputs into sums [R][64]. GCC keeps them in registers only while nothing but plain loads and stores surrounds the loop.
template <int R>
LUTRA_TARGET_AVXVNNI void dot_tile(const std::byte* const* starts, const std::byte* w, uint32_t groups, int32_t* sums) {
  const std::byte* rows[R];
  __m256i s[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    rows[r] = starts[r];
    s[r][0] = s[r][1] = _mm256_setzero_si256();
  }
  for (uint32_t g = 0; g < groups; ++g, w += size_t{kGemmPanel} * 4) {
    _mm_prefetch(reinterpret_cast<const char*>(w + kAhead), _MM_HINT_T0);
    const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w)), w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + 32));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t word;
      std::memcpy(&word, rows[r] + size_t{g} * 4, 4);
      const __m256i four = _mm256_set1_epi32(word);
      s[r][0] = _mm256_dpbusd_avx_epi32(s[r][0], four, w0);
      s[r][1] = _mm256_dpbusd_avx_epi32(s[r][1], four, w1);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    auto* to = reinterpret_cast<__m256i*>(sums + r * kGemmPanel);
    _mm256_store_si256(to, s[r][0]);
    _mm256_store_si256(to + 1, s[r][1]);
  }
}

using DotTile = void (*)(const std::byte* const* starts, const std::byte* w, uint32_t groups, int32_t* sums);
constexpr DotTile kDotTiles[kRows + 1] = {nullptr, dot_tile<1>, dot_tile<2>, dot_tile<3>, dot_tile<4>, dot_tile<5>, dot_tile<6>};

/// The sums of 64 outputs from those of the low and of the high bytes of x.
LUTRA_TARGET_AVXVNNI void join_planes(const int32_t* low, const int32_t* high, double* sums) {
  const __m256d weight = _mm256_set1_pd(256.0);
  for (uint32_t c = 0; c < kGemmPanel; c += 4) {
    const __m256d l = _mm256_cvtepi32_pd(_mm_load_si128(reinterpret_cast<const __m128i*>(low + c))), h = _mm256_cvtepi32_pd(_mm_load_si128(reinterpret_cast<const __m128i*>(high + c)));
    _mm256_store_pd(sums + c, _mm256_fmadd_pd(h, weight, l));
  }
}

/// At most kRows byte rows × one panel; Wide: 16-bit codes, two byte rows each.
template <bool Wide>
void run_rows(const GemmArgs& args, uint32_t row, uint32_t rows, uint32_t panel) {
  constexpr uint32_t kPlanes = Wide ? 2 : 1;
  alignas(32) int32_t sums[kRows * kGemmPanel];
  alignas(32) double joined[kGemmPanel];
  const std::byte* starts[kRows];
  const uint32_t groups = (args.depth + 3) / 4, first = panel * kGemmPanel, columns = std::min(args.outputs - first, kGemmPanel);
  const size_t plane = size_t{groups} * 4;
  const std::byte* w = args.packed + panel * plane * kGemmPanel;
  for (uint32_t i = 0; i < rows * kPlanes; ++i) starts[i] = args.x + (row + i / kPlanes) * args.x_stride + i % kPlanes * plane;
  for (uint32_t c = 0; c < columns; c += kColumns) kDotTiles[rows * kPlanes](starts, w + c * size_t{4}, groups, sums + c);
  for (uint32_t r = 0; r < rows; ++r) {
    const int32_t* of_row = sums + r * kPlanes * kGemmPanel;
    if constexpr (Wide) {
      join_planes(of_row, of_row + kGemmPanel, joined);
      store_row_16(args, row + r, first, columns, joined);
    } else {
      store_row_8<1>(args, row + r, first, columns, of_row);
    }
  }
}

}  // namespace

void gemm_run_avxvnni(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  if (args.layout != GemmLayout::kDotS8) return gemm_run_float_avx2(args, row_begin, row_end, panel_begin, panel_end);
  const bool wide = is_16_bit(args.type);
  const uint32_t at_once = wide ? kRows / 2 : kRows;
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    for (uint32_t row = row_begin; row < row_end; row += at_once) (wide ? run_rows<true> : run_rows<false>)(args, row, std::min(row_end - row, at_once), panel);
  }
}

}  // namespace lutra::kernels
#endif
