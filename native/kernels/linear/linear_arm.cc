#include "kernels/linear/linear_arm.h"

#ifdef LUTRA_ARM64
#include <algorithm>

#include "kernels/ops/vector_neon.h"

namespace lutra::kernels {
namespace {

constexpr uint32_t kRowsFloat = 4;  // 16 sums
constexpr uint32_t kDepth = 96;     // columns of a panel of one tile: 6 KB

void quantize_block(const float* x, std::byte* row, const QuantizedLayout& layout, uint32_t block) {
  uint32x4_t largest = vdupq_n_u32(0);  // |x| orders like its bits, and NaN and infinity come last
  for (int i = 0; i < 8; ++i) largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + 4 * i))));
  const uint32_t bits = vmaxvq_u32(largest);
  float maximum;
  std::memcpy(&maximum, &bits, sizeof maximum);
  std::byte* codes = row + static_cast<size_t>(block) * kBlockCols;
  float scale = 0.0f;
  int32_t sum = 0;
  if (bits >= 0x7f800000u || maximum < kSmallestMaximum) {
    if (bits >= 0x7f800000u) scale = std::numeric_limits<float>::quiet_NaN();
    std::memset(codes, 0, kBlockCols);
  } else {
    scale = maximum / 127.0f;
    const float inverse = 127.0f / maximum;
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < 2; ++i) {
      int16x4_t words[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const int32x4_t q = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 16 * i + 4 * j), inverse));
        sums = vaddq_s32(sums, q);
        words[j] = vmovn_s32(q);
      }
      const int8x16_t bytes = vcombine_s8(vmovn_s16(vcombine_s16(words[0], words[1])), vmovn_s16(vcombine_s16(words[2], words[3])));
      vst1q_s8(reinterpret_cast<int8_t*>(codes + 16 * i), bytes);
    }
    sum = vaddvq_s32(sums);
  }
  store_as(row + layout.scale + 4 * block, scale);
  store_as(row + layout.scaled_sum + 4 * block, scale * static_cast<float>(sum));
  store_as(row + layout.negative_sum + 4 * block, -sum);
}

// --- float ---------------------------------------------------------------------------------------------------------------------------

/// 32 columns of a quarter (4 rows) of a quantised tile as F32, panel[k · 16 + row].
template <WeightType Type>
void expand_quarter(const std::byte* codes, float32x4_t d, float32x4_t m, float* panel) {
  constexpr bool kBytes = Type == WeightType::kQ8_0;
  for (uint32_t i = 0; i < (kBytes ? 8u : 4u); ++i, codes += kGroupBytes, panel += 4 * kTileRows) {
    const uint32x4_t group = vreinterpretq_u32_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(codes)));
#pragma GCC unroll 4
    for (int b = 0; b < 4; ++b) {
      if constexpr (kBytes) {
        const int32x4_t code = vshrq_n_s32(vreinterpretq_s32_u32(vshlq_u32(group, vdupq_n_s32(24 - 8 * b))), 24);
        vst1q_f32(panel + b * kTileRows, vmulq_f32(vcvtq_f32_s32(code), d));
      } else {
        const uint32x4_t low = vandq_u32(vshlq_u32(group, vdupq_n_s32(-8 * b)), vdupq_n_u32(15)), high = vandq_u32(vshlq_u32(group, vdupq_n_s32(-8 * b - 4)), vdupq_n_u32(15));
        vst1q_f32(panel + b * kTileRows, vfmaq_f32(m, vcvtq_f32_u32(low), d));
        vst1q_f32(panel + (16 + b) * kTileRows, vfmaq_f32(m, vcvtq_f32_u32(high), d));
      }
    }
  }
}

template <WeightType Type>
void expand_block(const std::byte* block, float* panel) {
  for (uint32_t q = 0; q < 4; ++q) {
    const float32x4_t d = load_halves(block + code_bytes(Type) + 8 * q);
    // −8 · d is exact, so the fused form rounds once, like (code − 8) · d.
    const float32x4_t m = Type == WeightType::kQ4_1 ? load_halves(block + kQ4CodeBytes + kScaleBytes + 8 * q) : vmulq_n_f32(d, -8.0f);
    expand_quarter<Type>(block + 16 * q, d, m, panel + 4 * q);
  }
}

/// Four columns of a whole row-major tile from element `first`, transposed.
void expand_plain4(const PackedWeight& weight, size_t first, float* panel) {
  for (uint32_t q = 0; q < 4; ++q) {
    float32x4_t rows[4];
    for (uint32_t r = 0; r < 4; ++r) {
      const size_t index = first + size_t{4 * q + r} * weight.cols;
      rows[r] = weight.type == WeightType::kF32 ? vld1q_f32(reinterpret_cast<const float*>(weight.data + 4 * index)) : load_halves(weight.data + 2 * index);
    }
    neon::transpose(rows);
    for (uint32_t c = 0; c < 4; ++c) vst1q_f32(panel + c * kTileRows + 4 * q, rows[c]);
  }
}

/// Columns [k0, k0 + depth) of a tile; edges and low-bit weights go element by element.
void expand(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t depth, float* panel) noexcept {
  const size_t bytes = block_bytes(weight.type);
  if (bytes == 0) {
    const uint32_t whole = tile_rows(weight, tile) == kTileRows && !is_low_bit(weight.type) ? depth / 4 * 4 : 0;
    for (uint32_t k = 0; k < whole; k += 4) expand_plain4(weight, size_t{tile} * kTileRows * weight.cols + k0 + k, panel + k * kTileRows);
    return expand_plain_scalar(weight, tile, k0 + whole, depth - whole, panel + whole * kTileRows, kTileRows);
  }
  const std::byte* block = tile_data(weight, tile) + k0 / kBlockCols * bytes;
  for (uint32_t k = 0; k < depth; k += kBlockCols, block += bytes) {
    if (weight.type == WeightType::kQ4_0) expand_block<WeightType::kQ4_0>(block, panel + k * kTileRows);
    else if (weight.type == WeightType::kQ4_1) expand_block<WeightType::kQ4_1>(block, panel + k * kTileRows);
    else expand_block<WeightType::kQ8_0>(block, panel + k * kTileRows);
  }
}

/// N rows of x times a panel of one tile.
template <uint32_t N>
void multiply_panel(const float* panel, uint32_t depth, const float* x, size_t x_stride, float* y, size_t y_stride, uint32_t rows, bool add) {
  float32x4_t sums[N][4];
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) sums[r][0] = sums[r][1] = sums[r][2] = sums[r][3] = vdupq_n_f32(0);
  for (uint32_t k = 0; k < depth; ++k, panel += kTileRows) {
    const float32x4_t w[4] = {vld1q_f32(panel), vld1q_f32(panel + 4), vld1q_f32(panel + 8), vld1q_f32(panel + 12)};
#pragma GCC unroll 4
    for (uint32_t r = 0; r < N; ++r) {
#pragma GCC unroll 4
      for (uint32_t q = 0; q < 4; ++q) sums[r][q] = vfmaq_n_f32(sums[r][q], w[q], x[r * x_stride + k]);
    }
  }
#pragma GCC unroll 4
  for (uint32_t r = 0; r < N; ++r) {
    float* out = y + r * y_stride;
    if (add) {
      float before[kTileRows] = {};
      std::memcpy(before, out, rows * sizeof(float));
      for (uint32_t q = 0; q < 4; ++q) sums[r][q] = vaddq_f32(vld1q_f32(before + 4 * q), sums[r][q]);
    }
    store_rows(out, rows, sums[r]);
  }
}

using PanelKernel = void (*)(const float*, uint32_t, const float*, size_t, float*, size_t, uint32_t, bool);
constexpr PanelKernel kPanels[kRowsFloat + 1] = {nullptr, multiply_panel<1>, multiply_panel<2>, multiply_panel<3>, multiply_panel<4>};

}  // namespace

void run_float_neon(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  alignas(64) float panel[kDepth * kTileRows];
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t k0 = 0; k0 < weight.cols; k0 += kDepth) {
      const uint32_t depth = std::min(weight.cols - k0, kDepth);
      expand(weight, tile, k0, depth, panel);
      for (uint32_t r = 0; r < n; r += kRowsFloat) {
        const uint32_t count = std::min(n - r, kRowsFloat);
        kPanels[count](panel, depth, x + r * x_stride + k0, x_stride, y + r * y_stride + size_t{tile} * kTileRows, y_stride, tile_rows(weight, tile), k0 != 0);
      }
    }
  }
}

void quantize_rows_neon(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
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

}  // namespace lutra::kernels
#endif
