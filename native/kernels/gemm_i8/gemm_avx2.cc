// AVX2. VPMADDUBSW would saturate (255 · 127 · 2 > 32767), so bytes are widened to 16 bits, even and odd ones apart, and go through VPMADDWD: with
// x = (x0 x1 x2 x3) and w alike, madd(even) + madd(odd) is the whole dot product of one output in one 32-bit lane.
#include "kernels/gemm_i8/gemm_kernels.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 4;     // byte rows of a dot tile, rows of a float tile
constexpr uint32_t kColumns = 16;  // outputs of a tile
constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

template <int R>
LUTRA_INLINE256 void dot_tile(const uint8_t* const (&rows)[R], const std::byte* w, uint32_t groups, __m256i (&sums)[R][2]) {
  const __m256i low_bytes = _mm256_set1_epi16(0x00ff);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_si256();
  for (uint32_t g = 0; g < groups; ++g, w += size_t{kGemmPanel} * 4) {
    const __m256i w0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)), w1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32));
    const __m256i even0 = _mm256_srai_epi16(_mm256_slli_epi16(w0, 8), 8), odd0 = _mm256_srai_epi16(w0, 8);
    const __m256i even1 = _mm256_srai_epi16(_mm256_slli_epi16(w1, 8), 8), odd1 = _mm256_srai_epi16(w1, 8);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      int32_t word;
      std::memcpy(&word, rows[r] + size_t{g} * 4, 4);
      const __m256i x = _mm256_set1_epi32(word);
      const __m256i even = _mm256_and_si256(x, low_bytes), odd = _mm256_srli_epi16(x, 8);
      sums[r][0] = _mm256_add_epi32(sums[r][0], _mm256_add_epi32(_mm256_madd_epi16(even, even0), _mm256_madd_epi16(odd, odd0)));
      sums[r][1] = _mm256_add_epi32(sums[r][1], _mm256_add_epi32(_mm256_madd_epi16(even, even1), _mm256_madd_epi16(odd, odd1)));
    }
  }
}

/// Low 8 or 16 bits of eight 32-bit codes.
LUTRA_INLINE256 __m128i narrow_8(__m256i codes) {
  const __m256i shuffle = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i bytes = _mm256_shuffle_epi8(codes, shuffle);
  return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}
LUTRA_INLINE256 __m128i narrow_16(__m256i codes) {
  const __m256i words = _mm256_and_si256(codes, _mm256_set1_epi32(0xffff));
  return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

/// Stores the first `count` (1 … 8) elements of `size` bytes.
LUTRA_INLINE256 void store_part(std::byte* y, __m128i elements, uint32_t count, size_t size) {
  alignas(16) std::byte bytes[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes), elements);
  std::memcpy(y, bytes, count * size);
}

template <int R>
LUTRA_TARGET_AVX2 void tile_8(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  const uint8_t* rows[R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) rows[r] = reinterpret_cast<const uint8_t*>(args.x + (row + r) * args.x_stride);
  __m256i sums[R][2];
  dot_tile<R>(rows, w, (args.depth + 3) / 4, sums);
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* correction = static_cast<const int32_t*>(args.correction) + first;
  const auto* row_correction = static_cast<const int32_t*>(args.row_correction);
  const __m256 lo = _mm256_set1_ps(static_cast<float>(lowest_code(args.type) + args.offset));
  const __m256 hi = _mm256_set1_ps(static_cast<float>(highest_code(args.type) + args.offset));
  const __m256i offset = _mm256_set1_epi32(args.offset);
#pragma GCC unroll 2
  for (int c = 0; c < 2; ++c) {
    if (columns <= c * 8u) break;
    const uint32_t count = std::min(columns - c * 8, 8u);
    const __m256 m = _mm256_loadu_ps(multiplier + c * 8);
    const __m256i add = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(correction + c * 8));
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const __m256i more = _mm256_set1_epi32(row_correction == nullptr ? 0 : row_correction[row + r]);
      const __m256 value = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(_mm256_add_epi32(sums[r][c], add), more)), m);
      const __m256 rounded = _mm256_round_ps(_mm256_min_ps(_mm256_max_ps(value, lo), hi), kRound);
      const __m256i code = _mm256_sub_epi32(_mm256_cvtps_epi32(rounded), offset);
      store_part(args.y + (row + r) * args.y_stride + first + c * 8, narrow_8(code), count, 1);
    }
  }
}

LUTRA_INLINE256 __m128i requantise_16(__m128i low, __m128i high, __m256d multiplier, __m256d correction, __m256d more, __m256d lo, __m256d hi, __m128i offset) {
  const __m256d joined = _mm256_add_pd(_mm256_mul_pd(_mm256_cvtepi32_pd(high), _mm256_set1_pd(256.0)), _mm256_cvtepi32_pd(low));
  const __m256d value = _mm256_mul_pd(_mm256_add_pd(_mm256_add_pd(joined, correction), more), multiplier);
  return _mm_sub_epi32(_mm256_cvtpd_epi32(_mm256_round_pd(_mm256_min_pd(_mm256_max_pd(value, lo), hi), kRound)), offset);
}

template <int R>
LUTRA_TARGET_AVX2 void tile_16(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  const size_t plane = (size_t{args.depth} + 3) / 4 * 4;
  const uint8_t* rows[2 * R];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    rows[2 * r] = reinterpret_cast<const uint8_t*>(args.x + (row + r) * args.x_stride);
    rows[2 * r + 1] = rows[2 * r] + plane;
  }
  __m256i sums[2 * R][2];
  dot_tile<2 * R>(rows, w, (args.depth + 3) / 4, sums);
  const auto* multiplier = static_cast<const double*>(args.multiplier) + first;
  const auto* correction = static_cast<const double*>(args.correction) + first;
  const auto* row_correction = static_cast<const double*>(args.row_correction);
  const __m256d lo = _mm256_set1_pd(lowest_code(args.type) + args.offset), hi = _mm256_set1_pd(highest_code(args.type) + args.offset);
  const __m128i offset = _mm_set1_epi32(args.offset);
#pragma GCC unroll 2
  for (int c = 0; c < 2; ++c) {
    if (columns <= c * 8u) break;
    const uint32_t count = std::min(columns - c * 8, 8u);
    const double* m = multiplier + c * 8;
    const double* add = correction + c * 8;
#pragma GCC unroll 2
    for (int r = 0; r < R; ++r) {
      const __m256i low = sums[2 * r][c], high = sums[2 * r + 1][c];
      const __m256d more = _mm256_set1_pd(row_correction == nullptr ? 0.0 : row_correction[row + r]);
      const __m128i y0 = requantise_16(_mm256_castsi256_si128(low), _mm256_castsi256_si128(high), _mm256_loadu_pd(m), _mm256_loadu_pd(add), more, lo, hi, offset);
      const __m128i y1 = requantise_16(_mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1), _mm256_loadu_pd(m + 4), _mm256_loadu_pd(add + 4), more, lo, hi, offset);
      store_part(args.y + (row + r) * args.y_stride + (first + c * 8) * size_t{2}, narrow_16(_mm256_set_m128i(y1, y0)), count, 2);
    }
  }
}

template <GemmLayout L>
LUTRA_INLINE256 __m256 load_weights(const std::byte* w) {
  if constexpr (L == GemmLayout::kFloatS8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(w))));
  if constexpr (L == GemmLayout::kFloatF16) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w)));
  if constexpr (L == GemmLayout::kFloatF32) return _mm256_loadu_ps(reinterpret_cast<const float*>(w));
}

template <GemmLayout L, int R>
LUTRA_TARGET_AVX2 void tile_float(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  constexpr size_t kElement = gemm_weight_size(L);
  const float* rows[R];
  __m256 sums[R][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    rows[r] = reinterpret_cast<const float*>(args.x + (row + r) * args.x_stride);
    sums[r][0] = sums[r][1] = _mm256_setzero_ps();
  }
  for (uint32_t k = 0; k < args.depth; ++k, w += kGemmPanel * kElement) {
    const __m256 w0 = load_weights<L>(w), w1 = load_weights<L>(w + 8 * kElement);
#pragma GCC unroll 4
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
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      __m256 value = _mm256_mul_ps(sums[r][c], m);
      if (bias != nullptr) value = _mm256_add_ps(value, _mm256_loadu_ps(bias + c * 8));
      std::byte* y = args.y + (row + r) * args.y_stride;
      if (args.type == Element::kF16) {
        store_part(y + (first + c * 8) * size_t{2}, _mm256_cvtps_ph(value, kRound), count, 2);
      } else {
        alignas(32) float values[8];
        _mm256_store_ps(values, value);
        std::memcpy(y + (first + c * 8) * size_t{4}, values, count * 4);
      }
    }
  }
}

using Tile = void (*)(const GemmArgs&, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns);

struct TileSet {
  uint32_t rows;
  Tile by_rows[kRows + 1];
};

constexpr TileSet kTiles8 = {4, {nullptr, tile_8<1>, tile_8<2>, tile_8<3>, tile_8<4>}};
constexpr TileSet kTiles16 = {2, {nullptr, tile_16<1>, tile_16<2>}};
template <GemmLayout L>
constexpr TileSet kTilesFloat = {4, {nullptr, tile_float<L, 1>, tile_float<L, 2>, tile_float<L, 3>, tile_float<L, 4>}};

const TileSet& tiles_of(const GemmArgs& args) {
  switch (args.layout) {
    case GemmLayout::kDotS8: return is_16_bit(args.type) ? kTiles16 : kTiles8;
    case GemmLayout::kFloatS8: return kTilesFloat<GemmLayout::kFloatS8>;
    case GemmLayout::kFloatF16: return kTilesFloat<GemmLayout::kFloatF16>;
    case GemmLayout::kFloatF32: return kTilesFloat<GemmLayout::kFloatF32>;
  }
  return kTiles8;
}

LUTRA_TARGET_AVX2 void split_planes(const uint16_t* from, uint32_t depth, uint8_t flip, uint8_t* low, uint8_t* high) {
  const __m256i bits = _mm256_set1_epi8(static_cast<char>(flip));
  const __m256i low_bytes = _mm256_set1_epi16(0x00ff);
  uint32_t k = 0;
  for (; k + 32 <= depth; k += 32) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k)), b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k + 16));
    const __m256i l = _mm256_packus_epi16(_mm256_and_si256(a, low_bytes), _mm256_and_si256(b, low_bytes));
    const __m256i h = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + k), _mm256_permute4x64_epi64(l, 0xd8));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + k), _mm256_xor_si256(_mm256_permute4x64_epi64(h, 0xd8), bits));
  }
  for (; k < depth; ++k) {
    low[k] = static_cast<uint8_t>(from[k]);
    high[k] = static_cast<uint8_t>(from[k] >> 8) ^ flip;
  }
}

LUTRA_TARGET_AVX2 void widen_halves(const uint16_t* from, uint32_t depth, float* to) {
  uint32_t k = 0;
  for (; k + 8 <= depth; k += 8) _mm256_storeu_ps(to + k, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + k))));
  for (; k < depth; ++k) to[k] = _cvtsh_ss(from[k]);
}

}  // namespace

void gemm_prepare_avx2(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out) {
  const size_t row_size = gemm_prepared_row(type, depth);
  const size_t plane = (size_t{depth} + 3) / 4 * 4;
  for (uint32_t row = row_begin; row < row_end; ++row) {
    const std::byte* from = x + row * x_stride;
    auto* to = reinterpret_cast<uint8_t*>(out + row * row_size);
    if (is_16_bit(type)) {
      split_planes(reinterpret_cast<const uint16_t*>(from), depth, type == Element::kS16 ? 0x80 : 0, to, to + plane);
      std::memset(to + depth, 0, plane - depth);
      std::memset(to + plane + depth, 0, plane - depth);
    } else if (type == Element::kF16) {
      widen_halves(reinterpret_cast<const uint16_t*>(from), depth, reinterpret_cast<float*>(to));
    } else {
      gemm_prepare_portable(type, from, 0, depth, 0, 1, out + row * row_size);
    }
  }
}

void gemm_run_avx2(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  const TileSet& tiles = tiles_of(args);
  const bool dot = args.layout == GemmLayout::kDotS8;
  const size_t depth = dot ? (size_t{args.depth} + 3) / 4 * 4 : args.depth;
  const size_t panel_size = depth * kGemmPanel * gemm_weight_size(args.layout);
  const size_t tile_step = kColumns * (dot ? 4 : gemm_weight_size(args.layout));  // bytes between tiles of a panel
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint32_t columns = std::min(args.outputs - panel * kGemmPanel, kGemmPanel);
    for (uint32_t tile = 0; tile * kColumns < columns; ++tile) {
      const uint32_t first = panel * kGemmPanel + tile * kColumns;
      const std::byte* w = args.packed + panel * panel_size + tile * tile_step;
      for (uint32_t row = row_begin; row < row_end;) {
        const uint32_t rows = std::min(row_end - row, tiles.rows);
        tiles.by_rows[rows](args, row, w, first, columns - tile * kColumns);
        row += rows;
      }
    }
  }
}

}  // namespace lutra::kernels
#endif
