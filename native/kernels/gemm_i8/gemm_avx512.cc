// AVX-512 with VNNI. Register tile: 6 byte rows × 64 outputs (24 accumulators, 4 weight vectors, 1 broadcast). VPDPBUSD does not saturate and takes
// unsigned × signed, so U8 codes go in as they are; a U16 row is two byte rows.
#include "kernels/avx512.h"
#include "kernels/gemm_i8/gemm_kernels.h"

#ifdef LUTRA_X86
#include <algorithm>
#include <cstring>

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 6;
constexpr int kRound = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

LUTRA_INLINE512 __mmask16 column_mask(uint32_t columns, uint32_t vector) {
  const uint32_t first = vector * 16;
  if (columns >= first + 16) return 0xffff;
  return columns <= first ? 0 : static_cast<__mmask16>((1u << (columns - first)) - 1);
}

/// Σ of R byte rows × 64 outputs into out [R][64]. The sums go through memory once, because GCC keeps an array of vectors in registers only while
/// nothing but plain loads and stores follows; it costs 24 stores in some thousand instructions.
template <int R>
LUTRA_TARGET_AVX512 void dot_tile(const uint8_t* const* row_starts, const std::byte* w, uint32_t groups, int32_t* out) {
  const uint8_t* rows[R];
  __m512i sums[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    rows[r] = row_starts[r];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = _mm512_setzero_si512();
  }
  for (uint32_t g = 0; g < groups; ++g, w += 256) {
    const __m512i w0 = _mm512_load_si512(w), w1 = _mm512_load_si512(w + 64), w2 = _mm512_load_si512(w + 128), w3 = _mm512_load_si512(w + 192);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int32_t word;
      std::memcpy(&word, rows[r] + size_t{g} * 4, 4);
      const __m512i x = _mm512_set1_epi32(word);
      sums[r][0] = _mm512_dpbusd_epi32(sums[r][0], x, w0);
      sums[r][1] = _mm512_dpbusd_epi32(sums[r][1], x, w1);
      sums[r][2] = _mm512_dpbusd_epi32(sums[r][2], x, w2);
      sums[r][3] = _mm512_dpbusd_epi32(sums[r][3], x, w3);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) _mm512_store_si512(out + r * 64 + c * 16, sums[r][c]);
  }
}

LUTRA_TARGET_AVX512 void store_8(const GemmArgs& args, uint32_t row, uint32_t rows, uint32_t first, uint32_t columns, const int32_t* sums) {
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* correction = static_cast<const int32_t*>(args.correction) + first;
  const auto* row_correction = static_cast<const int32_t*>(args.row_correction);
  const __m512 lo = _mm512_set1_ps(static_cast<float>(lowest_code(args.type) + args.offset));
  const __m512 hi = _mm512_set1_ps(static_cast<float>(highest_code(args.type) + args.offset));
  const __m512i offset = _mm512_set1_epi32(args.offset);
  for (uint32_t c = 0; c * 16 < columns; ++c) {
    const __mmask16 mask = column_mask(columns, c);
    const __m512 m = _mm512_loadu_ps(multiplier + c * 16);
    const __m512i add = _mm512_loadu_si512(correction + c * 16);
    for (uint32_t r = 0; r < rows; ++r) {
      const __m512i more = _mm512_set1_epi32(row_correction == nullptr ? 0 : row_correction[row + r]);
      const __m512i total = _mm512_add_epi32(_mm512_load_si512(sums + r * 64 + c * 16), _mm512_add_epi32(add, more));
      const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(total), m);
      const __m512i code = _mm512_sub_epi32(_mm512_cvt_roundps_epi32(_mm512_min_ps(_mm512_max_ps(value, lo), hi), kRound), offset);
      _mm_mask_storeu_epi8(args.y + (row + r) * args.y_stride + first + c * 16, mask, _mm512_cvtepi32_epi8(code));
    }
  }
}

/// sums [2 · rows][64]: low plane, high plane of each row.
LUTRA_TARGET_AVX512 void store_16(const GemmArgs& args, uint32_t row, uint32_t rows, uint32_t first, uint32_t columns, const int32_t* sums) {
  const auto* multiplier = static_cast<const double*>(args.multiplier) + first;
  const auto* correction = static_cast<const double*>(args.correction) + first;
  const auto* row_correction = static_cast<const double*>(args.row_correction);
  const __m512d lo = _mm512_set1_pd(lowest_code(args.type) + args.offset), hi = _mm512_set1_pd(highest_code(args.type) + args.offset);
  const __m256i offset = _mm256_set1_epi32(args.offset);
  for (uint32_t c = 0; c * 8 < columns; ++c) {
    const auto mask = static_cast<__mmask8>(columns - c * 8 >= 8 ? 0xff : (1u << (columns - c * 8)) - 1);
    const __m512d m = _mm512_loadu_pd(multiplier + c * 8);
    const __m512d add = _mm512_loadu_pd(correction + c * 8);
    for (uint32_t r = 0; r < rows; ++r) {
      const int32_t* low = sums + r * 128 + c * 8;
      const __m512d high_part = _mm512_mul_pd(_mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i*>(low + 64))), _mm512_set1_pd(256.0));
      const __m512d joined = _mm512_add_pd(high_part, _mm512_cvtepi32_pd(_mm256_load_si256(reinterpret_cast<const __m256i*>(low))));
      const __m512d more = _mm512_set1_pd(row_correction == nullptr ? 0.0 : row_correction[row + r]);
      const __m512d value = _mm512_mul_pd(_mm512_add_pd(_mm512_add_pd(joined, add), more), m);
      const __m256i code = _mm256_sub_epi32(_mm512_cvt_roundpd_epi32(_mm512_min_pd(_mm512_max_pd(value, lo), hi), kRound), offset);
      _mm_mask_storeu_epi16(args.y + (row + r) * args.y_stride + (first + c * 8) * size_t{2}, mask, _mm256_cvtepi32_epi16(code));
    }
  }
}

/// R rows of U8 or S8 codes.
template <int R>
LUTRA_TARGET_AVX512 void tile_8(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  alignas(64) int32_t sums[R * 64];
  const uint8_t* rows[R];
  for (int r = 0; r < R; ++r) rows[r] = reinterpret_cast<const uint8_t*>(args.x + (row + r) * args.x_stride);
  dot_tile<R>(rows, w, (args.depth + 3) / 4, sums);
  store_8(args, row, R, first, columns, sums);
}

/// R rows of U16 or S16 codes: 2 R byte rows.
template <int R>
LUTRA_TARGET_AVX512 void tile_16(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  alignas(64) int32_t sums[2 * R * 64];
  const size_t plane = (size_t{args.depth} + 3) / 4 * 4;
  const uint8_t* rows[2 * R];
  for (int r = 0; r < R; ++r) {
    rows[2 * r] = reinterpret_cast<const uint8_t*>(args.x + (row + r) * args.x_stride);
    rows[2 * r + 1] = rows[2 * r] + plane;
  }
  dot_tile<2 * R>(rows, w, (args.depth + 3) / 4, sums);
  store_16(args, row, R, first, columns, sums);
}

template <GemmLayout L>
LUTRA_INLINE512 __m512 load_weights(const std::byte* w) {
  if constexpr (L == GemmLayout::kFloatS8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
  if constexpr (L == GemmLayout::kFloatF16) return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(w)));
  if constexpr (L == GemmLayout::kFloatF32) return _mm512_loadu_ps(w);
}

template <GemmLayout L, int R>
LUTRA_TARGET_AVX512 void tile_float(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  constexpr size_t kVector = 16 * gemm_weight_size(L);
  const float* rows[R];
  __m512 sums[R][4];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    rows[r] = reinterpret_cast<const float*>(args.x + (row + r) * args.x_stride);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = _mm512_setzero_ps();
  }
  for (uint32_t k = 0; k < args.depth; ++k, w += 4 * kVector) {
    const __m512 w0 = load_weights<L>(w), w1 = load_weights<L>(w + kVector), w2 = load_weights<L>(w + 2 * kVector), w3 = load_weights<L>(w + 3 * kVector);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const __m512 x = _mm512_set1_ps(rows[r][k]);
      sums[r][0] = _mm512_fmadd_ps(x, w0, sums[r][0]);
      sums[r][1] = _mm512_fmadd_ps(x, w1, sums[r][1]);
      sums[r][2] = _mm512_fmadd_ps(x, w2, sums[r][2]);
      sums[r][3] = _mm512_fmadd_ps(x, w3, sums[r][3]);
    }
  }
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* bias = args.correction == nullptr ? nullptr : static_cast<const float*>(args.correction) + first;
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const __mmask16 mask = column_mask(columns, c);
    const __m512 m = _mm512_loadu_ps(multiplier + c * 16);
    const __m512 add = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + c * 16);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      __m512 value = _mm512_mul_ps(sums[r][c], m);
      if (bias != nullptr) value = _mm512_add_ps(value, add);
      std::byte* y = args.y + (row + r) * args.y_stride;
      if (args.type == Element::kF16) {
        _mm256_mask_storeu_epi16(y + (first + c * 16) * size_t{2}, mask, _mm512_cvtps_ph(value, kRound));
      } else {
        _mm512_mask_storeu_ps(y + (first + c * 16) * size_t{4}, mask, value);
      }
    }
  }
}

using Tile = void (*)(const GemmArgs&, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns);

/// Tiles by number of rows, entry 0 unused, as many rows as fill the registers last.
struct TileSet {
  uint32_t rows;
  Tile by_rows[kRows + 1];
};

constexpr TileSet kTiles8 = {6, {nullptr, tile_8<1>, tile_8<2>, tile_8<3>, tile_8<4>, tile_8<5>, tile_8<6>}};
constexpr TileSet kTiles16 = {3, {nullptr, tile_16<1>, tile_16<2>, tile_16<3>}};
template <GemmLayout L>
constexpr TileSet kTilesFloat = {6, {nullptr, tile_float<L, 1>, tile_float<L, 2>, tile_float<L, 3>, tile_float<L, 4>, tile_float<L, 5>, tile_float<L, 6>}};

const TileSet& tiles_of(const GemmArgs& args) {
  switch (args.layout) {
    case GemmLayout::kDotS8: return is_16_bit(args.type) ? kTiles16 : kTiles8;
    case GemmLayout::kFloatS8: return kTilesFloat<GemmLayout::kFloatS8>;
    case GemmLayout::kFloatF16: return kTilesFloat<GemmLayout::kFloatF16>;
    case GemmLayout::kFloatF32: return kTilesFloat<GemmLayout::kFloatF32>;
  }
  return kTiles8;
}

LUTRA_TARGET_AVX512 void split_planes(const uint16_t* from, uint32_t depth, uint16_t flip, uint8_t* low, uint8_t* high) {
  const __m512i bits = _mm512_set1_epi16(static_cast<short>(flip));
  for (uint32_t k = 0; k < depth; k += 32) {
    const __mmask32 mask = depth - k >= 32 ? 0xffffffffu : (1u << (depth - k)) - 1;
    const __m512i codes = _mm512_xor_si512(_mm512_maskz_loadu_epi16(mask, from + k), bits);
    _mm256_mask_storeu_epi8(low + k, mask, _mm512_cvtepi16_epi8(codes));
    _mm256_mask_storeu_epi8(high + k, mask, _mm512_cvtepi16_epi8(_mm512_srli_epi16(codes, 8)));
  }
}

LUTRA_TARGET_AVX512 void copy_flipped(const std::byte* from, uint32_t depth, uint8_t flip, uint8_t* to) {
  const __m512i bits = _mm512_set1_epi8(static_cast<char>(flip));
  for (uint32_t k = 0; k < depth; k += 64) {
    const __mmask64 mask = depth - k >= 64 ? ~0ull : (1ull << (depth - k)) - 1;
    _mm512_mask_storeu_epi8(to + k, mask, _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, from + k), bits));
  }
}

LUTRA_TARGET_AVX512 void widen_halves(const uint16_t* from, uint32_t depth, float* to) {
  for (uint32_t k = 0; k < depth; k += 16) {
    const __mmask16 mask = depth - k >= 16 ? 0xffff : static_cast<__mmask16>((1u << (depth - k)) - 1);
    _mm512_mask_storeu_ps(to + k, mask, _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from + k)));
  }
}

}  // namespace

void gemm_prepare_avx512(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out) {
  const size_t row_size = gemm_prepared_row(type, depth);
  const size_t plane = (size_t{depth} + 3) / 4 * 4;
  for (uint32_t row = row_begin; row < row_end; ++row) {
    const std::byte* from = x + row * x_stride;
    auto* to = reinterpret_cast<uint8_t*>(out + row * row_size);
    switch (type) {
      case Element::kU8:
      case Element::kS8:
        copy_flipped(from, depth, type == Element::kS8 ? 0x80 : 0, to);
        std::memset(to + depth, 0, plane - depth);
        break;
      case Element::kU16:
      case Element::kS16:
        split_planes(reinterpret_cast<const uint16_t*>(from), depth, type == Element::kS16 ? 0x8000 : 0, to, to + plane);
        std::memset(to + depth, 0, plane - depth);
        std::memset(to + plane + depth, 0, plane - depth);
        break;
      case Element::kF16: widen_halves(reinterpret_cast<const uint16_t*>(from), depth, reinterpret_cast<float*>(to)); break;
      case Element::kF32: std::memcpy(to, from, row_size); break;
    }
  }
}

void gemm_run_avx512(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  const TileSet& tiles = tiles_of(args);
  const size_t depth = args.layout == GemmLayout::kDotS8 ? (size_t{args.depth} + 3) / 4 * 4 : args.depth;
  const size_t panel_size = depth * kGemmPanel * gemm_weight_size(args.layout);
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint32_t first = panel * kGemmPanel;
    const uint32_t columns = std::min(args.outputs - first, kGemmPanel);
    const std::byte* w = args.packed + panel * panel_size;
    for (uint32_t row = row_begin; row < row_end;) {
      const uint32_t rows = std::min(row_end - row, tiles.rows);
      tiles.by_rows[rows](args, row, w, first, columns);
      row += rows;
    }
  }
}

}  // namespace lutra::kernels
#endif
