// What the tiers of the linear kernels share: geometry of a packed block, the 8-bit form of activations, scalar expansion of weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/f16.h"
#include "kernels/linear/linear.h"

namespace lutra::kernels {

inline constexpr size_t kGroupBytes = 64;                      // 16 rows × 4 codes
inline constexpr size_t kScaleBytes = kTileRows * 2;           // 16 F16 scales or minima
inline constexpr size_t kQ4CodeBytes = kTileRows * 16;         // of one block
inline constexpr size_t kQ8CodeBytes = kTileRows * kBlockCols;
// Below this a block's inverse scale could overflow; such activations count as zero.
inline constexpr float kSmallestMaximum = 0x1.0p-100f;

/// Bytes of a packed block of 16 rows × 32 columns; 0 for types stored row major.
constexpr size_t block_bytes(WeightType type) noexcept {
  switch (type) {
    case WeightType::kQ4_0: return kQ4CodeBytes + kScaleBytes;
    case WeightType::kQ4_1: return kQ4CodeBytes + 2 * kScaleBytes;
    case WeightType::kQ8_0: return kQ8CodeBytes + kScaleBytes;
    case WeightType::kF32:
    case WeightType::kF16: return 0;
  }
  return 0;
}

/// Bytes of codes in front of the scales of a block.
constexpr size_t code_bytes(WeightType type) noexcept { return type == WeightType::kQ8_0 ? kQ8CodeBytes : kQ4CodeBytes; }

/// log2 of the zero point of the unsigned codes a kernel multiplies: 3 for Q4_0, 7 for Q8_0 with its sign bit flipped.
constexpr int zero_point_shift(WeightType type) noexcept { return type == WeightType::kQ8_0 ? 7 : 3; }

/// The 8-bit form of one row of activations, the same for every tier:
/// signed codes, then per block of 32 columns: F32 scales, F32 scale · Σ codes, S32 −Σ codes; padded to 64 bytes. A shorter last block counts as one with zeros behind it.
/// code = rint(x · 127 / max|x|), scale = max|x| / 127. A block that holds NaN or infinity gets scale NaN and codes 0, so that the
/// outputs become NaN as they would in float.
struct QuantizedLayout {
  size_t scale, scaled_sum, negative_sum, stride;  // byte offsets in a row; bytes of a row
  static constexpr QuantizedLayout of(uint32_t cols) noexcept {
    const size_t column = static_cast<size_t>((cols + kBlockCols - 1) / kBlockCols) * 4;
    const size_t codes = column / 4 * kBlockCols;
    const size_t end = codes + 3 * column;
    return {codes, codes + column, codes + 2 * column, (end + 63) / 64 * 64};
  }
};

/// A last block of fewer than 32 columns, with zeros behind it.
struct PaddedBlock {
  alignas(64) float x[kBlockCols] = {};
  PaddedBlock(const float* from, uint32_t count) noexcept { std::memcpy(x, from, count * sizeof(float)); }
};

template <typename T>
inline T load_as(const std::byte* p) noexcept {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

template <typename T>
inline void store_as(std::byte* p, T value) noexcept {
  std::memcpy(p, &value, sizeof value);
}

inline const std::byte* tile_data(const PackedWeight& weight, uint32_t tile) noexcept {
  return weight.data + static_cast<size_t>(tile) * (weight.cols / kBlockCols) * block_bytes(weight.type);
}

/// Rows of `tile` that exist: 16 except in the last tile.
inline uint32_t tile_rows(const PackedWeight& weight, uint32_t tile) noexcept {
  const uint32_t left = weight.rows - tile * kTileRows;
  return left < kTileRows ? left : kTileRows;
}

/// One F32 or F16 element.
inline float plain_element(const PackedWeight& weight, size_t index) noexcept {
  return weight.type == WeightType::kF32 ? load_as<float>(weight.data + 4 * index) : f16_to_f32(load_as<uint16_t>(weight.data + 2 * index));
}

/// Element of a low-bit weight; of no other.
float low_bit_element(const PackedWeight& weight, uint32_t row, uint32_t col) noexcept;
bool is_low_bit(WeightType type) noexcept;

/// Columns [k0, k0 + count) of a tile of a row-major or low-bit weight, transposed: panel[k · stride + row]; rows that do not exist become 0.
inline void expand_plain_scalar(const PackedWeight& weight, uint32_t tile, uint32_t k0, uint32_t count, float* panel, size_t stride) noexcept {
  const uint32_t rows = tile_rows(weight, tile);
  for (uint32_t r = 0; r < kTileRows; ++r) {
    const uint32_t row = tile * kTileRows + r;
    const size_t first = static_cast<size_t>(row) * weight.cols + k0;
    for (uint32_t k = 0; k < count; ++k) {
      panel[k * stride + r] = r >= rows ? 0.0f : is_low_bit(weight.type) ? low_bit_element(weight, row, k0 + k) : plain_element(weight, first + k);
    }
  }
}

/// F32 and F16 weights have no 8-bit arithmetic: a caller that asks for it gets NaN, never plausible numbers.
inline void fill_nan(const PackedWeight& weight, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) noexcept {
  const uint32_t end = tile_end * kTileRows < weight.rows ? tile_end * kTileRows : weight.rows;
  for (uint32_t r = 0; r < n; ++r) {
    for (uint32_t o = tile_begin * kTileRows; o < end; ++o) y[r * y_stride + o] = std::numeric_limits<float>::quiet_NaN();
  }
}

extern const LinearKernel kPortableLinear;
#ifdef LUTRA_X86
extern const LinearKernel kAvx2Linear;
extern const LinearKernel kAvxVnniLinear;
extern const LinearKernel kAvx512Linear;
#endif
#ifdef LUTRA_ARM64
extern const LinearKernel kNeonLinear;
extern const LinearKernel kDotprodLinear;
/// LinearKernel::quantize_rows.
void quantize_rows_neon(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out);
#endif

}  // namespace lutra::kernels
