// AVX2 linear kernels: a tile of 16 rows is two registers, one lane per output row, as in the AVX-512 tier.
#include "kernels/linear/linear_internal.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#include <utility>

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kRowsQuantized = 4;
constexpr uint32_t kRowsFloat = 6;       // 6 rows × 2 registers = 12 accumulators of the 16
constexpr uint32_t kDepth = 96;          // columns of a panel of one tile: 6 KB
constexpr size_t kPrefetchAhead = 8192;

LUTRA_INLINE256 __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
LUTRA_INLINE256 __m256i broadcast4(const std::byte* p) { return _mm256_set1_epi32(load_as<int32_t>(p)); }
LUTRA_INLINE256 __m256 broadcast_float(const std::byte* p) { return _mm256_set1_ps(load_as<float>(p)); }
LUTRA_INLINE256 __m256 load_halves(const std::byte* p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }

template <size_t... Line>
LUTRA_INLINE256 void prefetch_lines(const std::byte* p, std::index_sequence<Line...>) {
  (_mm_prefetch(reinterpret_cast<const char*>(p + 64 * Line), _MM_HINT_T0), ...);
}

/// `op` over the eight lanes of v.
template <typename Op>
LUTRA_INLINE256 uint32_t reduce(__m256i v, Op op) {
  __m128i four = op(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  four = op(four, _mm_shuffle_epi32(four, 0x4e));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(op(four, _mm_shuffle_epi32(four, 0xb1))));
}

LUTRA_TARGET_AVX2 void quantize_block(const float* x, std::byte* row, const QuantizedLayout& layout, uint32_t block) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();  // |x| orders like its bits, and NaN and infinity come last
  for (int i = 0; i < 4; ++i) largest = _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + 8 * i)), magnitude));
  const uint32_t bits = reduce(largest, [](__m128i a, __m128i b) LUTRA_TARGET_AVX2 { return _mm_max_epu32(a, b); });
  float maximum;
  std::memcpy(&maximum, &bits, sizeof maximum);
  std::byte* codes = row + static_cast<size_t>(block) * kBlockCols;
  float scale = 0.0f;
  int32_t sum = 0;
  if (bits >= 0x7f800000u || maximum < kSmallestMaximum) {
    if (bits >= 0x7f800000u) scale = std::numeric_limits<float>::quiet_NaN();
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm256_setzero_si256());
  } else {
    scale = maximum / 127.0f;
    const __m256 inverse = _mm256_set1_ps(127.0f / maximum);
    __m256i q[4];
    for (int i = 0; i < 4; ++i) q[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * i), inverse));
    sum = static_cast<int32_t>(reduce(_mm256_add_epi32(_mm256_add_epi32(q[0], q[1]), _mm256_add_epi32(q[2], q[3])), [](__m128i a, __m128i b) LUTRA_TARGET_AVX2 { return _mm_add_epi32(a, b); }));
    // The packs work inside 128-bit halves; the permutation puts the 4-byte runs back in order.
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  }
  store_as(row + layout.scale + 4 * block, scale);
  store_as(row + layout.scaled_sum + 4 * block, scale * static_cast<float>(sum));
  store_as(row + layout.negative_sum + 4 * block, -sum);
}

LUTRA_TARGET_AVX2 void quantize_rows(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  for (uint32_t r = 0; r < n; ++r) {
    for (uint32_t block = 0; block < cols / kBlockCols; ++block) {
      quantize_block(x + r * x_stride + block * kBlockCols, out + r * layout.stride, layout, block);
    }
    if (const uint32_t left = cols % kBlockCols; left != 0) {
      const PaddedBlock last(x + r * x_stride + (cols - left), left);
      quantize_block(last.x, out + r * layout.stride, layout, cols / kBlockCols);
    }
  }
}

/// sums[h] += codes[h] · four columns of x, in 16 bits.
LUTRA_INLINE256 void add_products(__m256i (&sums)[2], const __m256i (&codes)[2], __m256i x) {
#pragma GCC unroll 2
  for (uint32_t h = 0; h < 2; ++h) {
    sums[h] = _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(codes[h], x));
    asm("" : "+x"(sums[h]));  // added now: as a tree the products of a block would not find registers
  }
}

/// acc[r][h] = Σ codes · x_r of one block and half h of a tile (8 rows).
/// VPMADDUBSW adds pairs in 16 bits. 4-bit codes: eight sums of at most 2 · 15 · 127 fit in 16 bits, so they are widened once.
/// 8-bit codes: |w| ≤ 128 unsigned and x with w's sign, 2 · 128 · 127 = 32512 fits (x is never −128), widened every time.
template <WeightType Type, uint32_t N>
LUTRA_INLINE256 void multiply_block(const std::byte* block, const std::byte* x, size_t stride, __m256i (&acc)[N][2]) {
  const __m256i ones = _mm256_set1_epi16(1), nibble = _mm256_set1_epi8(15);
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_si256();
  if constexpr (Type == WeightType::kQ8_0) {
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; ++i) {
#pragma GCC unroll 2
      for (uint32_t h = 0; h < 2; ++h) {
        const __m256i codes = load256(block + i * kGroupBytes + 32 * h);
        const __m256i size = _mm256_abs_epi8(codes);
#pragma GCC unroll 4
        for (uint32_t r = 0; r < N; ++r) {
          const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(broadcast4(x + r * stride + 4 * i), codes));
          acc[r][h] = _mm256_add_epi32(acc[r][h], _mm256_madd_epi16(pairs, ones));
        }
      }
    }
  } else {
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      __m256i low[2], high[2];
#pragma GCC unroll 2
      for (uint32_t h = 0; h < 2; ++h) {
        const __m256i codes = load256(block + i * kGroupBytes + 32 * h);
        low[h] = _mm256_and_si256(codes, nibble);
        high[h] = _mm256_and_si256(_mm256_srli_epi16(codes, 4), nibble);
      }
#pragma GCC unroll 4
      for (uint32_t r = 0; r < N; ++r) {
        add_products(acc[r], low, broadcast4(x + r * stride + 4 * i));
        add_products(acc[r], high, broadcast4(x + r * stride + 16 + 4 * i));
      }
    }
#pragma GCC unroll 4
    for (uint32_t r = 0; r < N; ++r) {
      acc[r][0] = _mm256_madd_epi16(acc[r][0], ones);
      acc[r][1] = _mm256_madd_epi16(acc[r][1], ones);
    }
  }
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

/// One tile times N rows of activations.
template <WeightType Type, uint32_t N>
LUTRA_TARGET_AVX2 void quantized_tile(const std::byte* tile, uint32_t cols, const std::byte* xq, float* y, size_t y_stride, uint32_t rows) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  __m256 sum[2][N];
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) sum[0][r] = sum[1][r] = _mm256_setzero_ps();
  const uint32_t blocks = cols / kBlockCols;
  for (uint32_t index = 0; index < blocks; ++index, tile += block_bytes(Type)) {
    prefetch_lines(tile + kPrefetchAhead, std::make_index_sequence<(block_bytes(Type) + 63) / 64>{});
    __m256i acc[N][2];
    multiply_block<Type>(tile, xq + static_cast<size_t>(index) * kBlockCols, layout.stride, acc);
#pragma GCC unroll 2
    for (uint32_t h = 0; h < 2; ++h) {
      const __m256 d = load_halves(tile + code_bytes(Type) + 16 * h);
#pragma GCC unroll 4
      for (uint32_t r = 0; r < N; ++r) {
        const std::byte* x = xq + r * layout.stride;
        if constexpr (Type == WeightType::kQ4_0) {
          acc[r][h] = _mm256_add_epi32(acc[r][h], _mm256_slli_epi32(broadcast4(x + layout.negative_sum + 4 * index), zero_point_shift(Type)));
        }
        const __m256 scale = _mm256_mul_ps(d, broadcast_float(x + layout.scale + 4 * index));
        sum[h][r] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(acc[r][h]), sum[h][r]);
      }
      if constexpr (Type == WeightType::kQ4_1) {
        const __m256 m = load_halves(tile + kQ4CodeBytes + kScaleBytes + 16 * h);
#pragma GCC unroll 4
        for (uint32_t r = 0; r < N; ++r) sum[h][r] = _mm256_fmadd_ps(m, broadcast_float(xq + r * layout.stride + layout.scaled_sum + 4 * index), sum[h][r]);
      }
    }
  }
  for (uint32_t r = 0; r < N; ++r) store_rows(y + r * y_stride, rows, sum[0][r], sum[1][r]);
}

using QuantizedTile = void (*)(const std::byte*, uint32_t, const std::byte*, float*, size_t, uint32_t);

template <WeightType Type, uint32_t... N>
constexpr QuantizedTile pick_quantized(uint32_t n, std::integer_sequence<uint32_t, N...>) {
  constexpr QuantizedTile table[] = {quantized_tile<Type, N + 1>...};
  return table[n - 1];
}

QuantizedTile quantized_kernel(WeightType type, uint32_t n) noexcept {
  constexpr auto counts = std::make_integer_sequence<uint32_t, kRowsQuantized>{};
  if (type == WeightType::kQ4_0) return pick_quantized<WeightType::kQ4_0>(n, counts);
  if (type == WeightType::kQ4_1) return pick_quantized<WeightType::kQ4_1>(n, counts);
  return pick_quantized<WeightType::kQ8_0>(n, counts);
}

void run_quantized(const PackedWeight& weight, const std::byte* xq, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  if (block_bytes(weight.type) == 0) return fill_nan(weight, n, tile_begin, tile_end, y, y_stride);
  const size_t stride = QuantizedLayout::of(weight.cols).stride;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t r = 0; r < n; r += kRowsQuantized) {
      const uint32_t count = n - r < kRowsQuantized ? n - r : kRowsQuantized;
      quantized_kernel(weight.type, count)(tile_data(weight, tile), weight.cols, xq + r * stride, y + r * y_stride + static_cast<size_t>(tile) * kTileRows,
                                           y_stride, tile_rows(weight, tile));
    }
  }
}

// --- float ---------------------------------------------------------------------------------------------------------------------------

/// 32 columns of one half (8 rows) of a quantised tile as F32, panel[k · 16 + row].
template <WeightType Type>
LUTRA_TARGET_AVX2 void expand_half(const std::byte* half, __m256 d, __m256 m, float* panel) {
  if constexpr (Type == WeightType::kQ8_0) {
    for (uint32_t i = 0; i < 8; ++i) {
      const __m256i group = load256(half + i * kGroupBytes);
#pragma GCC unroll 4
      for (uint32_t b = 0; b < 4; ++b) {
        const __m256i code = _mm256_srai_epi32(_mm256_slli_epi32(group, 24 - 8 * b), 24);
        _mm256_store_ps(panel + (4 * i + b) * kTileRows, _mm256_mul_ps(_mm256_cvtepi32_ps(code), d));
      }
    }
  } else {
    const __m256i nibble = _mm256_set1_epi32(15);
    for (uint32_t i = 0; i < 4; ++i) {
      const __m256i group = load256(half + i * kGroupBytes);
#pragma GCC unroll 4
      for (uint32_t b = 0; b < 4; ++b) {
        const __m256i low = _mm256_and_si256(_mm256_srli_epi32(group, 8 * b), nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi32(group, 8 * b + 4), nibble);
        _mm256_store_ps(panel + (4 * i + b) * kTileRows, _mm256_fmadd_ps(_mm256_cvtepi32_ps(low), d, m));
        _mm256_store_ps(panel + (16 + 4 * i + b) * kTileRows, _mm256_fmadd_ps(_mm256_cvtepi32_ps(high), d, m));
      }
    }
  }
}

template <WeightType Type>
LUTRA_TARGET_AVX2 void expand_block(const std::byte* block, float* panel) {
  for (uint32_t h = 0; h < 2; ++h) {
    const __m256 d = load_halves(block + code_bytes(Type) + 16 * h);
    // −8 · d is exact, so the fused form rounds once, like (code − 8) · d.
    const __m256 m = Type == WeightType::kQ4_1 ? load_halves(block + kQ4CodeBytes + kScaleBytes + 16 * h) : _mm256_mul_ps(_mm256_set1_ps(-8.0f), d);
    expand_half<Type>(block + 32 * h, d, m, panel + 8 * h);
  }
}

/// 8 rows × 8 columns of a row-major weight from element `first`, transposed.
LUTRA_TARGET_AVX2 void expand_plain8(const PackedWeight& weight, size_t first, float* panel) {
  __m256 a[8], b[8];
  for (uint32_t r = 0; r < 8; ++r) {
    const size_t index = first + static_cast<size_t>(r) * weight.cols;
    a[r] = weight.type == WeightType::kF32 ? _mm256_loadu_ps(reinterpret_cast<const float*>(weight.data + 4 * index)) : load_halves(weight.data + 2 * index);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {  // a[4·i + c]: column c of each half, rows 4·i … 4·i + 3
    a[4 * i] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0x44);
    a[4 * i + 1] = _mm256_shuffle_ps(b[4 * i], b[4 * i + 2], 0xee);
    a[4 * i + 2] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0x44);
    a[4 * i + 3] = _mm256_shuffle_ps(b[4 * i + 1], b[4 * i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    _mm256_store_ps(panel + c * kTileRows, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    _mm256_store_ps(panel + (4 + c) * kTileRows, _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

/// Columns [k0, k0 + depth) of a row-major tile; edges and low-bit weights go element by element.
void expand_plain(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t depth, float* panel) noexcept {
  const uint32_t whole = tile_rows(weight, tile) == kTileRows && !is_low_bit(weight.type) ? depth / 8 * 8 : 0;
  for (uint32_t k = 0; k < whole; k += 8) {
    const size_t first = static_cast<size_t>(tile) * kTileRows * weight.cols + k0 + k;
    expand_plain8(weight, first, panel + k * kTileRows);
    expand_plain8(weight, first + static_cast<size_t>(8) * weight.cols, panel + k * kTileRows + 8);
  }
  expand_plain_scalar(weight, tile, k0 + whole, depth - whole, panel + whole * kTileRows, kTileRows);
}

void expand(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t depth, float* panel) noexcept {
  const size_t bytes = block_bytes(weight.type);
  if (bytes == 0) return expand_plain(weight, tile, k0, depth, panel);
  const std::byte* block = tile_data(weight, tile) + k0 / kBlockCols * bytes;
  for (uint32_t k = 0; k < depth; k += kBlockCols, block += bytes) {
    if (weight.type == WeightType::kQ4_0) expand_block<WeightType::kQ4_0>(block, panel + k * kTileRows);
    else if (weight.type == WeightType::kQ4_1) expand_block<WeightType::kQ4_1>(block, panel + k * kTileRows);
    else expand_block<WeightType::kQ8_0>(block, panel + k * kTileRows);
  }
}

/// N rows of x times a panel of one tile, in the same order of operations as the AVX-512 tier.
template <uint32_t N>
LUTRA_TARGET_AVX2 void multiply_panel(const float* panel, uint32_t depth, const float* x, size_t x_stride, float* y, size_t y_stride, uint32_t rows, bool add) {
  __m256 sum[2][N];
#pragma GCC unroll 6
  for (uint32_t r = 0; r < N; ++r) sum[0][r] = sum[1][r] = _mm256_setzero_ps();
  for (uint32_t k = 0; k < depth; ++k, panel += kTileRows) {
    const __m256 low = _mm256_load_ps(panel);
    const __m256 high = _mm256_load_ps(panel + 8);
#pragma GCC unroll 6
    for (uint32_t r = 0; r < N; ++r) {
      const __m256 value = _mm256_set1_ps(x[r * x_stride + k]);
      sum[0][r] = _mm256_fmadd_ps(value, low, sum[0][r]);
      sum[1][r] = _mm256_fmadd_ps(value, high, sum[1][r]);
    }
  }
#pragma GCC unroll 6
  for (uint32_t r = 0; r < N; ++r) {
    float* out = y + r * y_stride;
    if (add) {
      alignas(32) float before[kTileRows] = {};
      std::memcpy(before, out, rows * sizeof(float));
      sum[0][r] = _mm256_add_ps(_mm256_load_ps(before), sum[0][r]);
      sum[1][r] = _mm256_add_ps(_mm256_load_ps(before + 8), sum[1][r]);
    }
    store_rows(out, rows, sum[0][r], sum[1][r]);
  }
}

using PanelKernel = void (*)(const float*, uint32_t, const float*, size_t, float*, size_t, uint32_t, bool);

template <uint32_t... N>
constexpr PanelKernel pick_panel(uint32_t n, std::integer_sequence<uint32_t, N...>) {
  constexpr PanelKernel table[] = {multiply_panel<N + 1>...};
  return table[n - 1];
}

void run_float(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  alignas(64) float panel[kDepth * kTileRows];
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t k0 = 0; k0 < weight.cols; k0 += kDepth) {
      const uint32_t depth = weight.cols - k0 < kDepth ? weight.cols - k0 : kDepth;
      expand(weight, tile, k0, depth, panel);
      for (uint32_t r = 0; r < n; r += kRowsFloat) {
        const uint32_t count = n - r < kRowsFloat ? n - r : kRowsFloat;
        pick_panel(count, std::make_integer_sequence<uint32_t, kRowsFloat>{})(panel, depth, x + r * x_stride + k0, x_stride,
                                                                            y + r * y_stride + static_cast<size_t>(tile) * kTileRows, y_stride, tile_rows(weight, tile), k0 != 0);
      }
    }
  }
}

}  // namespace

const LinearKernel kAvx2Linear = {"avx2", Isa::kAvx2, quantize_rows, run_quantized, run_float};

}  // namespace lutra::kernels
#endif
