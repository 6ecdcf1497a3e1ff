// AVX2. VPMADDUBSW would saturate (255 · 127 · 2 > 32767), so both sides go through VPMADDWD as 16-bit words: two exact products and their sum in a 32-bit lane. Weights are
// widened as they are loaded; rows of x are widened into a buffer of one block of depth, which stays in the first-level cache for all tiles of a panel.
// 16-bit codes need no byte planes this way: as words x − 32768 they cost what bytes cost. Their sums fit 32 bits for 508 of depth and then go on in double, exact.
#include "kernels/gemm_i8/gemm_kernels.h"

#ifdef LUTRA_X86
#include <algorithm>

#include "kernels/gemm_i8/gemm_avx2.h"

namespace lutra::kernels {
namespace {

// Register tile: 12 sums, 2 vectors of weights, a broadcast and a product.
constexpr uint32_t kRows = 6;
constexpr uint32_t kColumns = 8;
// The longest block of depth in groups of 4: what stays in the first-level cache; for 16 bits what 32 bits hold, 510 · 2^15 · 2^7 < 2^31 in each of the two sums of an output.
constexpr uint32_t kBlock8 = 256;
constexpr uint32_t kBlock16 = 255;
constexpr size_t kAhead = 8 * 4 * kGemmPanel;  // bytes of weights that are fetched before their turn
constexpr uint32_t kRowWords = kBlock8 * 4;    // between rows of widened x
constexpr uint32_t kRowSums = 2 * kGemmPanel;  // between rows of sums: two of every output

/// Adds R rows of words × 8 outputs to `sums`, or sets them. GCC keeps them in registers only while nothing but plain loads and stores surrounds the loop.
template <int R>
LUTRA_TARGET_AVX2 void dot_tile(const int16_t* x, const std::byte* w, uint32_t groups, bool add, int32_t* sums) {
  __m256i s[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const auto* from = reinterpret_cast<const __m256i*>(sums + r * kRowSums);
    s[r][0] = add ? _mm256_load_si256(from) : _mm256_setzero_si256();
    s[r][1] = add ? _mm256_load_si256(from + 1) : _mm256_setzero_si256();
  }
  for (uint32_t g = 0; g < groups; ++g, x += 4, w += size_t{kGemmPanel} * 4) {
    _mm_prefetch(reinterpret_cast<const char*>(w + kAhead), _MM_HINT_T0);
    const __m256i w0 = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w))), w1 = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w + 16)));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      long long words;
      std::memcpy(&words, x + r * kRowWords, 8);
      const __m256i four = _mm256_set1_epi64x(words);
      s[r][0] = _mm256_add_epi32(s[r][0], _mm256_madd_epi16(four, w0));
      s[r][1] = _mm256_add_epi32(s[r][1], _mm256_madd_epi16(four, w1));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    auto* to = reinterpret_cast<__m256i*>(sums + r * kRowSums);
    _mm256_store_si256(to, s[r][0]);
    _mm256_store_si256(to + 1, s[r][1]);
  }
}

using DotTile = void (*)(const int16_t* x, const std::byte* w, uint32_t groups, bool add, int32_t* sums);
constexpr DotTile kDotTiles[kRows + 1] = {nullptr, dot_tile<1>, dot_tile<2>, dot_tile<3>, dot_tile<4>, dot_tile<5>, dot_tile<6>};

/// Groups of 4 codes as words.
LUTRA_TARGET_AVX2 void widen_8(const std::byte* x, uint32_t groups, int16_t* to) {
  uint32_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + g * 4), _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + g * 4))));
  }
  for (uint32_t k = g * 4; k < groups * 4; ++k) to[k] = static_cast<uint8_t>(x[k]);
}

/// The same from two byte planes: 256 · high + low − 32768.
LUTRA_TARGET_AVX2 void widen_16(const std::byte* low, const std::byte* high, uint32_t groups, int16_t* to) {
  const __m256i middle = _mm256_set1_epi16(INT16_MIN);
  uint32_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    const __m256i l = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low + g * 4)));
    const __m256i h = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(high + g * 4)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(to + g * 4), _mm256_xor_si256(_mm256_or_si256(l, _mm256_slli_epi16(h, 8)), middle));
  }
  for (uint32_t k = g * 4; k < groups * 4; ++k) to[k] = static_cast<int16_t>((static_cast<uint32_t>(high[k]) << 8 | static_cast<uint32_t>(low[k])) ^ 0x8000u);
}

/// Adds the 64 sums of a row of 16-bit codes to `totals`: the two sums of an output may not be added in 32 bits.
LUTRA_TARGET_AVX2 void add_totals(const int32_t* sums, double* totals) {
  for (uint32_t c = 0; c < kGemmPanel; c += 4) {
    const __m256i pairs = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + 2 * c));
    const __m256d low = _mm256_cvtepi32_pd(_mm256_castsi256_si128(pairs)), high = _mm256_cvtepi32_pd(_mm256_extracti128_si256(pairs, 1));
    const __m256d sum = _mm256_permute4x64_pd(_mm256_hadd_pd(low, high), 0xd8);
    _mm256_store_pd(totals + c, _mm256_add_pd(sum, _mm256_load_pd(totals + c)));
  }
}

/// What the totals of 16-bit codes begin with, since words lack 32768: that many times the sums of the weights.
LUTRA_TARGET_AVX2 void begin_totals(const int32_t* weight_sums, double* totals) {
  const __m256d middle = _mm256_set1_pd(32768.0);
  for (uint32_t c = 0; c < kGemmPanel; c += 4) {
    _mm256_store_pd(totals + c, _mm256_mul_pd(_mm256_cvtepi32_pd(_mm_loadu_si128(reinterpret_cast<const __m128i*>(weight_sums + c))), middle));
  }
}

/// At most kRows rows × one panel; Wide: 16-bit codes.
template <bool Wide>
void run_rows(const GemmArgs& args, uint32_t row, uint32_t rows, uint32_t panel) {
  constexpr uint32_t kLongest = Wide ? kBlock16 : kBlock8;
  alignas(32) int32_t sums[kRows * kRowSums];
  alignas(32) int16_t x[kRows * kRowWords];
  alignas(32) double totals[Wide ? kRows * kGemmPanel : 4];
  const uint32_t groups = (args.depth + 3) / 4, first = panel * kGemmPanel, columns = std::min(args.outputs - first, kGemmPanel);
  const uint32_t blocks = (groups + kLongest - 1) / kLongest, block = (groups + blocks - 1) / blocks;
  const size_t plane = size_t{groups} * 4;
  const std::byte* w = args.packed + panel * plane * kGemmPanel;
  if constexpr (Wide) {
    for (uint32_t r = 0; r < rows; ++r) begin_totals(gemm_weight_sums(args.packed, args.outputs, args.depth) + first, totals + r * kGemmPanel);
  }
  for (uint32_t begin = 0; begin < groups; begin += block) {
    const uint32_t count = std::min(block, groups - begin);
    for (uint32_t r = 0; r < rows; ++r) {
      const std::byte* from = args.x + (row + r) * args.x_stride + size_t{begin} * 4;
      if constexpr (Wide) {
        widen_16(from, from + plane, count, x + r * kRowWords);
      } else {
        widen_8(from, count, x + r * kRowWords);
      }
    }
    for (uint32_t c = 0; c < columns; c += kColumns) kDotTiles[rows](x, w + (size_t{begin} * kGemmPanel + c) * 4, count, !Wide && begin > 0, sums + 2 * c);
    if constexpr (Wide) {
      for (uint32_t r = 0; r < rows; ++r) add_totals(sums + r * kRowSums, totals + r * kGemmPanel);
    }
  }
  for (uint32_t r = 0; r < rows; ++r) {
    if constexpr (Wide) {
      store_row_16(args, row + r, first, columns, totals + r * kGemmPanel);
    } else {
      store_row_8<2>(args, row + r, first, columns, sums + r * kRowSums);
    }
  }
}

LUTRA_TARGET_AVX2 void copy_flipped(const std::byte* from, uint32_t depth, uint8_t flip, uint8_t* to) {
  const __m256i bits = _mm256_set1_epi8(static_cast<char>(flip));
  uint32_t k = 0;
  for (; k + 32 <= depth; k += 32) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k), _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + k)), bits));
  for (; k < depth; ++k) to[k] = static_cast<uint8_t>(from[k]) ^ flip;
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
    switch (type) {
      case Element::kU8:
      case Element::kS8:
        copy_flipped(from, depth, type == Element::kS8 ? 0x80 : 0, to);
        std::memset(to + depth, 0, plane - depth);
        break;
      case Element::kU16:
      case Element::kS16:
        split_planes(reinterpret_cast<const uint16_t*>(from), depth, type == Element::kS16 ? 0x80 : 0, to, to + plane);
        std::memset(to + depth, 0, plane - depth);
        std::memset(to + plane + depth, 0, plane - depth);
        break;
      case Element::kF16: widen_halves(reinterpret_cast<const uint16_t*>(from), depth, reinterpret_cast<float*>(to)); break;
      case Element::kF32: std::memcpy(to, from, row_size); break;
    }
  }
}

void gemm_run_avx2(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  if (args.layout != GemmLayout::kDotS8) return gemm_run_float_avx2(args, row_begin, row_end, panel_begin, panel_end);
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    for (uint32_t row = row_begin; row < row_end; row += kRows) {
      const uint32_t rows = std::min(row_end - row, kRows);
      if (is_16_bit(args.type)) {
        run_rows<true>(args, row, rows, panel);
      } else {
        run_rows<false>(args, row, rows, panel);
      }
    }
  }
}

}  // namespace lutra::kernels
#endif
