// AVX2 linear kernels: a tile of 16 rows is two registers, one lane per output row, as in the AVX-512 tier.
#include "kernels/linear/linear_avx2.h"

#ifdef LUTRA_X86
#include "kernels/linear/dots_avx2.h"

namespace lutra::kernels {
namespace {

constexpr uint32_t kRowsFloat = 6;       // 6 rows × 2 registers = 12 accumulators of the 16
constexpr uint32_t kDepth = 96;          // columns of a panel of one tile: 6 KB

LUTRA_INLINE256 __m256i load256(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

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

}  // namespace

namespace avx2 {
namespace {

#include "kernels/linear/dots_256.inc"

#include "kernels/linear/linear_256.inc"

}  // namespace
}  // namespace avx2

LUTRA_TARGET_AVX2 void quantize_rows_avx2(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
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

void run_float_avx2(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
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

const LinearKernel kAvx2Linear = {"avx2", Isa::kAvx2, quantize_rows_avx2, avx2::run_quantized, run_float_avx2};

}  // namespace lutra::kernels
#endif
