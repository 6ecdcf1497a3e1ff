// Packing of ggml blocks into tiles, and the way back one row at a time.
#include <algorithm>

#include "kernels/linear/linear_internal.h"
#include "kernels/lowbit/lowbit.h"

namespace lutra::kernels {
namespace {

/// Where the parts of a ggml block of 32 values of one row are. Scales come first, then the codes.
struct GgmlBlock {
  size_t bytes, codes, code_bytes;
  bool has_minimum;
};

constexpr GgmlBlock ggml_block(WeightType type) noexcept {
  switch (type) {
    case WeightType::kQ4_0: return {18, 2, 16, false};
    case WeightType::kQ4_1: return {20, 4, 16, true};
    default: return {34, 2, 32, false};
  }
}

/// Row `row` of a 4-bit block: byte 4·r + b of group i holds elements 4·i + b (low nibble) and 16 + 4·i + b.
void dequantize_q4(const std::byte* block, uint32_t row, float d, float m, float* out) noexcept {
  for (uint32_t j = 0; j < 16; ++j) {
    const auto byte = std::to_integer<uint32_t>(block[(j / 4) * kGroupBytes + 4 * row + j % 4]);
    out[j] = static_cast<float>(byte & 15u) * d + m;
    out[16 + j] = static_cast<float>(byte >> 4) * d + m;
  }
}

void dequantize_q8(const std::byte* block, uint32_t row, float d, float* out) noexcept {
  for (uint32_t j = 0; j < kBlockCols; ++j) {
    out[j] = static_cast<float>(load_as<int8_t>(block + (j / 4) * kGroupBytes + 4 * row + j % 4)) * d;
  }
}

}  // namespace

size_t packed_size(WeightType type, uint32_t rows, uint32_t cols) noexcept {
  const size_t elements = static_cast<size_t>(rows) * cols;
  if (type == WeightType::kF32) return elements * 4;
  if (type == WeightType::kF16) return elements * 2;
  if (const auto format = low_bit_format(type)) return low_bit_packed_size(*format, rows, cols);
  if (cols % kBlockCols != 0) return 0;
  return static_cast<size_t>(tile_count(rows)) * (cols / kBlockCols) * block_bytes(type);
}

void pack_ggml(WeightType type, const std::byte* ggml, uint32_t rows, uint32_t cols, std::span<std::byte> out) noexcept {
  if (block_bytes(type) == 0) {  // F32 and F16 stay as they are
    if (!out.empty()) std::memcpy(out.data(), ggml, out.size());
    return;
  }
  const GgmlBlock from = ggml_block(type);
  const uint32_t blocks = cols / kBlockCols;
  const size_t groups = from.code_bytes / 4;
  std::byte* to = out.data();
  for (uint32_t tile = 0; tile < tile_count(rows); ++tile) {
    for (uint32_t block = 0; block < blocks; ++block, to += block_bytes(type)) {
      std::memset(to, 0, block_bytes(type));
      const uint32_t present = std::min(kTileRows, rows - tile * kTileRows);
      for (uint32_t r = 0; r < present; ++r) {
        const std::byte* source = ggml + ((static_cast<size_t>(tile) * kTileRows + r) * blocks + block) * from.bytes;
        for (size_t i = 0; i < groups; ++i) std::memcpy(to + i * kGroupBytes + 4 * r, source + from.codes + 4 * i, 4);
        std::memcpy(to + code_bytes(type) + 2 * r, source, 2);
        if (from.has_minimum) std::memcpy(to + code_bytes(type) + kScaleBytes + 2 * r, source + 2, 2);
      }
    }
  }
}

void dequantize_row(const PackedWeight& weight, uint32_t row, float* out) noexcept {
  if (low_bit_format(weight.type)) return dequantize_low_bit_row(weight, row, out);
  const size_t bytes = block_bytes(weight.type);
  if (bytes == 0) {
    const size_t first = static_cast<size_t>(row) * weight.cols;
    for (uint32_t k = 0; k < weight.cols; ++k) out[k] = plain_element(weight, first + k);
    return;
  }
  const uint32_t lane = row % kTileRows;
  const std::byte* block = tile_data(weight, row / kTileRows);
  for (uint32_t k = 0; k < weight.cols; k += kBlockCols, block += bytes) {
    const std::byte* scales = block + code_bytes(weight.type) + 2 * lane;
    const float d = f16_to_f32(load_as<uint16_t>(scales));
    if (weight.type == WeightType::kQ8_0) {
      dequantize_q8(block, lane, d, out + k);
    } else {
      const float m = weight.type == WeightType::kQ4_1 ? f16_to_f32(load_as<uint16_t>(scales + kScaleBytes)) : -8.0f * d;
      dequantize_q4(block, lane, d, m, out + k);
    }
  }
}

size_t quantized_rows_size(uint32_t n, uint32_t cols) noexcept { return n * QuantizedLayout::of(cols).stride; }

}  // namespace lutra::kernels
