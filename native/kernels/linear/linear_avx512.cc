// AVX-512 VNNI linear kernels. A tile is 16 rows, so one register lane is one output row: a group of 64 bytes of codes is the operand of
// VPDPBUSD as it lies in memory and no horizontal sum is ever needed.
#include "kernels/avx512.h"
#include "kernels/linear/linear_internal.h"

#ifdef LUTRA_X86
#include <utility>

namespace lutra::kernels {
namespace {

constexpr uint32_t kRowsQuantized = 8;   // activation rows that share one unpacking of the weights
constexpr uint32_t kRowsFloat = 6;       // 6 rows × 4 tiles = 24 accumulators
constexpr uint32_t kTilesFloat = 4;
constexpr uint32_t kDepth = 96;          // columns of a panel: 96 × 64 rows of F32 = 24 KB, half of the L1 cache
constexpr uint32_t kRowBlock = 132;      // activation rows whose sums are kept while the columns of 4 tiles pass: 33 KB
constexpr size_t kPrefetchAhead = 8192;  // measured best of 1, 2, 4 and 8 KB when the weights come from memory

LUTRA_INLINE512 __m512i broadcast4(const std::byte* p) { return _mm512_set1_epi32(load_as<int32_t>(p)); }
LUTRA_INLINE512 __m512 broadcast_float(const std::byte* p) { return _mm512_set1_ps(load_as<float>(p)); }
LUTRA_INLINE512 __m512 load_halves(const std::byte* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }

template <size_t... Line>
LUTRA_INLINE512 void prefetch_lines(const std::byte* p, std::index_sequence<Line...>) {
  (_mm_prefetch(reinterpret_cast<const char*>(p + 64 * Line), _MM_HINT_T0), ...);
}

LUTRA_TARGET_AVX512 void quantize_block(const float* x, std::byte* row, const QuantizedLayout& layout, uint32_t block) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  const __m512 a = _mm512_loadu_ps(x);
  const __m512 b = _mm512_loadu_ps(x + 16);
  // |x| orders like its bits, and NaN and infinity come last.
  const uint32_t bits = _mm512_reduce_max_epu32(
      _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude), _mm512_and_si512(_mm512_castps_si512(b), magnitude)));
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
    const __m512 inverse = _mm512_set1_ps(127.0f / maximum);
    const __m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
    const __m512i qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(qa));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(qb));
    sum = _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
  }
  store_as(row + layout.scale + 4 * block, scale);
  store_as(row + layout.scaled_sum + 4 * block, scale * static_cast<float>(sum));
  store_as(row + layout.negative_sum + 4 * block, -sum);
}

LUTRA_TARGET_AVX512 void quantize_rows(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
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

/// acc[r] += codes of one block · x_r. Activations are the signed operand, so nothing can saturate.
template <WeightType Type, uint32_t N>
LUTRA_INLINE512 void multiply_block(const std::byte* block, const std::byte* x, size_t stride, __m512i (&acc)[N]) {
  if constexpr (Type == WeightType::kQ8_0) {
    const __m512i flip = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 8
    for (uint32_t i = 0; i < 8; ++i) {
      const __m512i codes = _mm512_xor_si512(_mm512_loadu_si512(block + i * kGroupBytes), flip);
#pragma GCC unroll 8
      for (uint32_t r = 0; r < N; ++r) acc[r] = _mm512_dpbusd_epi32(acc[r], codes, broadcast4(x + r * stride + 4 * i));
    }
  } else {
    const __m512i nibble = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      const __m512i codes = _mm512_loadu_si512(block + i * kGroupBytes);
      const __m512i low = _mm512_and_si512(codes, nibble);
      const __m512i high = _mm512_and_si512(_mm512_srli_epi16(codes, 4), nibble);
#pragma GCC unroll 8
      for (uint32_t r = 0; r < N; ++r) {
        acc[r] = _mm512_dpbusd_epi32(acc[r], low, broadcast4(x + r * stride + 4 * i));
        acc[r] = _mm512_dpbusd_epi32(acc[r], high, broadcast4(x + r * stride + 16 + 4 * i));
      }
    }
  }
}

/// One tile times N rows of activations. The weights are read once, as one stream.
template <WeightType Type, uint32_t N>
LUTRA_TARGET_AVX512 void quantized_tile(const std::byte* tile, uint32_t cols, const std::byte* xq, float* y, size_t y_stride, __mmask16 rows) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  __m512 sum[N];
#pragma GCC unroll 8
  for (uint32_t r = 0; r < N; ++r) sum[r] = _mm512_setzero_ps();
  const uint32_t blocks = cols / kBlockCols;
  for (uint32_t index = 0; index < blocks; ++index, tile += block_bytes(Type)) {
    prefetch_lines(tile + kPrefetchAhead, std::make_index_sequence<(block_bytes(Type) + 63) / 64>{});
    __m512i acc[N];
#pragma GCC unroll 8
    for (uint32_t r = 0; r < N; ++r) {
      acc[r] = _mm512_setzero_si512();
      if constexpr (Type != WeightType::kQ4_1) {  // takes the zero point out: −2^shift · Σ x
        acc[r] = _mm512_slli_epi32(broadcast4(xq + r * layout.stride + layout.negative_sum + 4 * index), zero_point_shift(Type));
      }
    }
    multiply_block<Type, N>(tile, xq + static_cast<size_t>(index) * kBlockCols, layout.stride, acc);
    const __m512 d = load_halves(tile + code_bytes(Type));
#pragma GCC unroll 8
    for (uint32_t r = 0; r < N; ++r) {
      const __m512 scale = _mm512_mul_ps(d, broadcast_float(xq + r * layout.stride + layout.scale + 4 * index));
      sum[r] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(acc[r]), sum[r]);
    }
    if constexpr (Type == WeightType::kQ4_1) {
      const __m512 m = load_halves(tile + kQ4CodeBytes + kScaleBytes);
#pragma GCC unroll 8
      for (uint32_t r = 0; r < N; ++r) {
        sum[r] = _mm512_fmadd_ps(m, broadcast_float(xq + r * layout.stride + layout.scaled_sum + 4 * index), sum[r]);
      }
    }
  }
#pragma GCC unroll 8
  for (uint32_t r = 0; r < N; ++r) _mm512_mask_storeu_ps(y + r * y_stride, rows, sum[r]);
}

using QuantizedTile = void (*)(const std::byte*, uint32_t, const std::byte*, float*, size_t, __mmask16);

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

__mmask16 row_mask(const PackedWeight& weight, uint32_t tile) noexcept { return static_cast<__mmask16>((1u << tile_rows(weight, tile)) - 1u); }

void run_quantized(const PackedWeight& weight, const std::byte* xq, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  if (block_bytes(weight.type) == 0) return fill_nan(weight, n, tile_begin, tile_end, y, y_stride);
  const size_t stride = QuantizedLayout::of(weight.cols).stride;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t r = 0; r < n; r += kRowsQuantized) {
      const uint32_t count = n - r < kRowsQuantized ? n - r : kRowsQuantized;
      quantized_kernel(weight.type, count)(tile_data(weight, tile), weight.cols, xq + r * stride, y + r * y_stride + static_cast<size_t>(tile) * kTileRows,
                                           y_stride, row_mask(weight, tile));
    }
  }
}

// --- float ---------------------------------------------------------------------------------------------------------------------------

/// 32 columns of a quantised tile: lane r of a group holds 4 codes of row r, so element b is a shift away and no transposition is needed.
template <WeightType Type>
LUTRA_TARGET_AVX512 void expand_block(const std::byte* block, float* panel, size_t stride) {
  const __m512 d = load_halves(block + code_bytes(Type));
  if constexpr (Type == WeightType::kQ8_0) {
    for (uint32_t i = 0; i < 8; ++i) {
      const __m512i group = _mm512_loadu_si512(block + i * kGroupBytes);
#pragma GCC unroll 4
      for (uint32_t b = 0; b < 4; ++b) {
        const __m512i code = _mm512_srai_epi32(_mm512_slli_epi32(group, 24 - 8 * b), 24);
        _mm512_store_ps(panel + (4 * i + b) * stride, _mm512_mul_ps(_mm512_cvtepi32_ps(code), d));
      }
    }
  } else {
    // −8 · d is exact, so the fused form rounds once, like (code − 8) · d.
    const __m512 m = Type == WeightType::kQ4_1 ? load_halves(block + kQ4CodeBytes + kScaleBytes) : _mm512_mul_ps(_mm512_set1_ps(-8.0f), d);
    const __m512i nibble = _mm512_set1_epi32(15);
    for (uint32_t i = 0; i < 4; ++i) {
      const __m512i group = _mm512_loadu_si512(block + i * kGroupBytes);
#pragma GCC unroll 4
      for (uint32_t b = 0; b < 4; ++b) {
        const __m512i low = _mm512_and_si512(_mm512_srli_epi32(group, 8 * b), nibble);
        const __m512i high = _mm512_and_si512(_mm512_srli_epi32(group, 8 * b + 4), nibble);
        _mm512_store_ps(panel + (4 * i + b) * stride, _mm512_fmadd_ps(_mm512_cvtepi32_ps(low), d, m));
        _mm512_store_ps(panel + (16 + 4 * i + b) * stride, _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), d, m));
      }
    }
  }
}

LUTRA_INLINE512 __m512 load_plain(const PackedWeight& weight, size_t index, __mmask16 mask) {
  if (weight.type == WeightType::kF32) return _mm512_maskz_loadu_ps(mask, weight.data + 4 * index);
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, weight.data + 2 * index));
}

/// Up to 16 columns of a row-major tile, transposed. Columns and rows beyond the weight become 0 and are not read.
LUTRA_TARGET_AVX512 void expand_plain16(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t columns, float* panel, size_t stride) {
  const uint32_t rows = tile_rows(weight, tile);
  const auto mask = static_cast<__mmask16>((1u << columns) - 1u);
  const size_t first = static_cast<size_t>(tile) * kTileRows * weight.cols + k0;
  __m512 a[16], b[16];
  for (uint32_t r = 0; r < kTileRows; ++r) {
    a[r] = r < rows ? load_plain(weight, first + static_cast<size_t>(r) * weight.cols, mask) : _mm512_setzero_ps();
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {  // a[4·i + c]: column c of each 128-bit quarter, rows 4·i … 4·i + 3
    const __m512d low0 = _mm512_castps_pd(b[4 * i]), low1 = _mm512_castps_pd(b[4 * i + 2]);
    const __m512d high0 = _mm512_castps_pd(b[4 * i + 1]), high1 = _mm512_castps_pd(b[4 * i + 3]);
    a[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low0, low1));
    a[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low0, low1));
    a[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high0, high1));
    a[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high0, high1));
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {  // quarters are a 4 × 4 matrix of 128-bit cells; transpose it
    const __m512 t0 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88), t1 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const __m512 t2 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd), t3 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_store_ps(panel + c * stride, _mm512_shuffle_f32x4(t0, t1, 0x88));
    _mm512_store_ps(panel + (4 + c) * stride, _mm512_shuffle_f32x4(t2, t3, 0x88));
    _mm512_store_ps(panel + (8 + c) * stride, _mm512_shuffle_f32x4(t0, t1, 0xdd));
    _mm512_store_ps(panel + (12 + c) * stride, _mm512_shuffle_f32x4(t2, t3, 0xdd));
  }
}

/// Columns [k0, k0 + depth) of a tile as F32. Row-major weights fill whole runs of 16 columns, which the panel has room for.
void expand(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t depth, float* panel, size_t stride) noexcept {
  const size_t bytes = block_bytes(weight.type);
  if (is_low_bit(weight.type)) return expand_plain_scalar(weight, tile, k0, depth, panel, stride);
  if (bytes == 0) {
    for (uint32_t k = 0; k < depth; k += 16) expand_plain16(weight, tile, k0 + k, depth - k < 16 ? depth - k : 16, panel + k * stride, stride);
    return;
  }
  const std::byte* block = tile_data(weight, tile) + k0 / kBlockCols * bytes;
  for (uint32_t k = 0; k < depth; k += kBlockCols, block += bytes) {
    // The next panel's part of this tile: four tiles are four streams, which the hardware alone does not keep up with.
    for (size_t line = 0; line < bytes; line += 64) _mm_prefetch(reinterpret_cast<const char*>(block + kDepth / kBlockCols * bytes + line), _MM_HINT_T0);
    if (weight.type == WeightType::kQ4_0) expand_block<WeightType::kQ4_0>(block, panel + k * stride, stride);
    else if (weight.type == WeightType::kQ4_1) expand_block<WeightType::kQ4_1>(block, panel + k * stride, stride);
    else expand_block<WeightType::kQ8_0>(block, panel + k * stride, stride);
  }
}

/// sums[r][t] (+)= N rows of x times a panel of T tiles. Each output is one chain of fused multiply-adds over the panel's depth, whatever
/// N and T are, and the panels' sums are added in order: short chains keep the rounding error independent of the number of columns.
template <uint32_t T, uint32_t N>
LUTRA_TARGET_AVX512 void multiply_panel(const float* panel, uint32_t depth, const float* x, size_t x_stride, float* sums, bool add) {
  __m512 sum[T][N];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; ++t) {
#pragma GCC unroll 6
    for (uint32_t r = 0; r < N; ++r) sum[t][r] = _mm512_setzero_ps();
  }
  for (uint32_t k = 0; k < depth; ++k, panel += T * kTileRows) {
    __m512 w[T];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; ++t) w[t] = _mm512_load_ps(panel + t * kTileRows);
#pragma GCC unroll 6
    for (uint32_t r = 0; r < N; ++r) {
      const __m512 value = _mm512_set1_ps(x[r * x_stride + k]);
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; ++t) sum[t][r] = _mm512_fmadd_ps(value, w[t], sum[t][r]);
    }
  }
#pragma GCC unroll 6
  for (uint32_t r = 0; r < N; ++r) {
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; ++t, sums += kTileRows) _mm512_store_ps(sums, add ? _mm512_add_ps(_mm512_load_ps(sums), sum[t][r]) : sum[t][r]);
  }
}

using PanelKernel = void (*)(const float*, uint32_t, const float*, size_t, float*, bool);

template <uint32_t T, uint32_t... N>
constexpr PanelKernel pick_panel(uint32_t n, std::integer_sequence<uint32_t, N...>) {
  constexpr PanelKernel table[] = {multiply_panel<T, N + 1>...};
  return table[n - 1];
}

template <uint32_t T>
LUTRA_TARGET_AVX512 void store_sums(const float* sums, uint32_t n, float* y, size_t y_stride, __mmask16 last) {
  for (uint32_t r = 0; r < n; ++r, sums += T * kTileRows) {
    for (uint32_t t = 0; t < T; ++t) {
      _mm512_mask_storeu_ps(y + r * y_stride + t * kTileRows, t + 1 == T ? last : static_cast<__mmask16>(0xffff), _mm512_load_ps(sums + t * kTileRows));
    }
  }
}

/// T tiles times n ≤ kRowBlock rows. The sums stay in a buffer of their own until they are complete: rows of y are often a multiple of
/// 4 KB apart and would throw each other out of the cache.
template <uint32_t T>
void float_tiles(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile, float* y, size_t y_stride) noexcept {
  alignas(64) float panel[kDepth * T * kTileRows];
  alignas(64) float sums[kRowBlock * T * kTileRows];
  if (weight.cols == 0) std::memset(sums, 0, sizeof sums);
  for (uint32_t k0 = 0; k0 < weight.cols; k0 += kDepth) {
    const uint32_t depth = weight.cols - k0 < kDepth ? weight.cols - k0 : kDepth;
    for (uint32_t t = 0; t < T; ++t) expand(weight, tile + t, k0, depth, panel + t * kTileRows, T * kTileRows);
    for (uint32_t r = 0; r < n; r += kRowsFloat) {
      const uint32_t count = n - r < kRowsFloat ? n - r : kRowsFloat;
      pick_panel<T>(count, std::make_integer_sequence<uint32_t, kRowsFloat>{})(panel, depth, x + r * x_stride + k0, x_stride, sums + r * T * kTileRows, k0 != 0);
    }
  }
  store_sums<T>(sums, n, y + static_cast<size_t>(tile) * kTileRows, y_stride, row_mask(weight, tile + T - 1));
}

void run_float(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  for (uint32_t tile = tile_begin; tile < tile_end;) {
    const uint32_t left = tile_end - tile;
    const uint32_t tiles = left >= kTilesFloat ? kTilesFloat : left >= 2 ? 2 : 1;
    for (uint32_t r = 0; r < n; r += kRowBlock) {
      const uint32_t count = n - r < kRowBlock ? n - r : kRowBlock;
      const auto run = tiles == kTilesFloat ? float_tiles<kTilesFloat> : tiles == 2 ? float_tiles<2> : float_tiles<1>;
      run(weight, x + r * x_stride, x_stride, count, tile, y + r * y_stride, y_stride);
    }
    tile += tiles;
  }
}

}  // namespace

const LinearKernel kAvx512Linear = {"avx512", Isa::kAvx512, quantize_rows, run_quantized, run_float};

}  // namespace lutra::kernels
#endif
