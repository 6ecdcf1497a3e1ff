// Portable linear kernels: the reference that every tier must equal bit for bit in the quantised arithmetic.
#include <bit>
#include <cmath>

#include "kernels/linear/linear_internal.h"

namespace lutra::kernels {
namespace {

/// Half to even for |v| < 2^22, in a form that vectorises without a rounding instruction.
inline float round_even(float v) noexcept {
  constexpr float kMagic = 0x1.8p23f;
  return (v + kMagic) - kMagic;
}

void quantize_block(const float* x, std::byte* row, const QuantizedLayout& layout, uint32_t block) noexcept {
  uint32_t bits = 0;  // |x| orders like its bits, and NaN and infinity come last
  for (uint32_t k = 0; k < kBlockCols; ++k) {
    const uint32_t magnitude = std::bit_cast<uint32_t>(x[k]) & 0x7fffffffu;
    bits = bits < magnitude ? magnitude : bits;
  }
  const float maximum = std::bit_cast<float>(bits);
  std::byte* codes = row + static_cast<size_t>(block) * kBlockCols;
  float scale = 0.0f;
  int32_t sum = 0;
  if (bits >= 0x7f800000u || maximum < kSmallestMaximum) {
    if (bits >= 0x7f800000u) scale = std::numeric_limits<float>::quiet_NaN();
    std::memset(codes, 0, kBlockCols);
  } else {
    scale = maximum / 127.0f;
    const float inverse = 127.0f / maximum;
    for (uint32_t k = 0; k < kBlockCols; ++k) {
      const auto code = static_cast<int32_t>(round_even(x[k] * inverse));
      store_as(codes + k, static_cast<int8_t>(code));
      sum += code;
    }
  }
  store_as(row + layout.scale + 4 * block, scale);
  store_as(row + layout.scaled_sum + 4 * block, scale * static_cast<float>(sum));
  store_as(row + layout.negative_sum + 4 * block, -sum);
}

void quantize_rows(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
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

/// One block of 16 rows × 32 columns as numbers.
struct Block {
  int32_t codes[kBlockCols][kTileRows];  // zero point removed
  float d[kTileRows];
  float m[kTileRows];  // 0 unless Q4_1
};

void unpack(WeightType type, const std::byte* data, Block& block) noexcept {
  for (uint32_t r = 0; r < kTileRows; ++r) {
    for (uint32_t j = 0; j < (type == WeightType::kQ8_0 ? kBlockCols : 16u); ++j) {
      const std::byte byte = data[(j / 4) * kGroupBytes + 4 * r + j % 4];
      if (type == WeightType::kQ8_0) {
        block.codes[j][r] = static_cast<int8_t>(byte);
      } else {
        const int32_t zero_point = type == WeightType::kQ4_0 ? 8 : 0;
        block.codes[j][r] = static_cast<int32_t>(byte & std::byte{15}) - zero_point;
        block.codes[16 + j][r] = static_cast<int32_t>(byte >> 4) - zero_point;
      }
    }
    const std::byte* scales = data + code_bytes(type) + 2 * r;
    block.d[r] = f16_to_f32(load_as<uint16_t>(scales));
    block.m[r] = type == WeightType::kQ4_1 ? f16_to_f32(load_as<uint16_t>(scales + kScaleBytes)) : 0.0f;
  }
}

/// y += block · x in exact integers, joined by one fused multiply-add a block (two with a minimum): the order all tiers keep.
void accumulate(WeightType type, const Block& block, const std::byte* xq, const QuantizedLayout& layout, uint32_t index, uint32_t rows, float* y) noexcept {
  int32_t acc[kTileRows] = {};
  for (uint32_t k = 0; k < kBlockCols; ++k) {
    const int32_t code = load_as<int8_t>(xq + static_cast<size_t>(index) * kBlockCols + k);
    for (uint32_t r = 0; r < kTileRows; ++r) acc[r] += code * block.codes[k][r];
  }
  const float scale = load_as<float>(xq + layout.scale + 4 * index);
  const float scaled_sum = load_as<float>(xq + layout.scaled_sum + 4 * index);
  for (uint32_t r = 0; r < rows; ++r) {
    y[r] = std::fma(block.d[r] * scale, static_cast<float>(acc[r]), y[r]);
    if (type == WeightType::kQ4_1) y[r] = std::fma(block.m[r], scaled_sum, y[r]);
  }
}

void run_quantized(const PackedWeight& weight, const std::byte* xq, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  if (block_bytes(weight.type) == 0) return fill_nan(weight, n, tile_begin, tile_end, y, y_stride);
  const QuantizedLayout layout = QuantizedLayout::of(weight.cols);
  Block block;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint32_t rows = tile_rows(weight, tile);
    float* out = y + static_cast<size_t>(tile) * kTileRows;
    for (uint32_t r = 0; r < n; ++r) std::memset(out + r * y_stride, 0, rows * sizeof(float));
    const std::byte* data = tile_data(weight, tile);
    for (uint32_t index = 0; index < weight.cols / kBlockCols; ++index, data += block_bytes(weight.type)) {
      unpack(weight.type, data, block);
      for (uint32_t r = 0; r < n; ++r) accumulate(weight.type, block, xq + r * layout.stride, layout, index, rows, out + r * y_stride);
    }
  }
}

/// Columns [k0, k0 + count) of a tile as F32, panel[k][row].
void expand(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t count, float (*panel)[kTileRows]) noexcept {
  if (block_bytes(weight.type) == 0) return expand_plain_scalar(weight, tile, k0, count, panel[0], kTileRows);
  Block block;
  unpack(weight.type, tile_data(weight, tile) + k0 / kBlockCols * block_bytes(weight.type), block);
  for (uint32_t k = 0; k < count; ++k) {
    for (uint32_t r = 0; r < kTileRows; ++r) panel[k][r] = static_cast<float>(block.codes[k][r]) * block.d[r] + block.m[r];
  }
}

void run_float(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  float panel[kBlockCols][kTileRows];
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint32_t rows = tile_rows(weight, tile);
    float* out = y + static_cast<size_t>(tile) * kTileRows;
    for (uint32_t r = 0; r < n; ++r) std::memset(out + r * y_stride, 0, rows * sizeof(float));
    for (uint32_t k0 = 0; k0 < weight.cols; k0 += kBlockCols) {
      const uint32_t count = weight.cols - k0 < kBlockCols ? weight.cols - k0 : kBlockCols;
      expand(weight, tile, k0, count, panel);
      for (uint32_t r = 0; r < n; ++r) {
        const float* input = x + r * x_stride + k0;
        float acc[kTileRows] = {};
        for (uint32_t k = 0; k < count; ++k) {
          for (uint32_t lane = 0; lane < kTileRows; ++lane) acc[lane] += input[k] * panel[k][lane];
        }
        for (uint32_t lane = 0; lane < rows; ++lane) out[r * y_stride + lane] += acc[lane];
      }
    }
  }
}

}  // namespace

const LinearKernel kPortableLinear = {"portable", Isa::kPortable, quantize_rows, run_quantized, run_float};

}  // namespace lutra::kernels
