// Linear layers of the CPU: y = x · Wᵀ over packed weights, for any number of input rows.
//
// Weight layouts: docs/architecture.md, "Packed CPU weights". Two arithmetics:
//  - quantised (Q4_0, Q4_1, Q8_0): activations in 8 bits, one F32 scale per 32 columns, exact int32 accumulation per block;
//  - float (every type): weights expanded to F32 in registers or a small tile, F32 accumulation. `--reference` and F32, F16 weights.
// Nothing here allocates, threads or throws: the caller cuts [tile_begin, tile_end) into tasks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"

namespace lutra::kernels {

/// The plan's dtype codes; 32 to 79 are low-bit formats (kernels/lowbit/format.h), which have kernels of their own but for float arithmetic.
enum class WeightType : uint32_t { kF32 = 1, kF16 = 2, kQ4_0 = 16, kQ4_1 = 17, kQ8_0 = 18 };

inline constexpr uint32_t kTileRows = 16;   // output rows of a tile; a task is a range of tiles
inline constexpr uint32_t kBlockCols = 32;  // columns that share a scale

/// A weight in its file layout; `data` is borrowed. rows = outputs, cols = inputs.
struct PackedWeight {
  WeightType type = WeightType::kF32;
  uint32_t rows = 0;
  uint32_t cols = 0;
  const std::byte* data = nullptr;
};

/// Bytes of a packed weight, or 0 when the type cannot hold that shape (quantised types need cols % 32 == 0).
size_t packed_size(WeightType type, uint32_t rows, uint32_t cols) noexcept;
inline uint32_t tile_count(uint32_t rows) noexcept { return (rows + kTileRows - 1) / kTileRows; }

/// Packs rows of ggml blocks (row major, as in a GGUF file) into the canonical layout. out.size() == packed_size(...). Used by `lutra convert`.
void pack_ggml(WeightType type, const std::byte* ggml, uint32_t rows, uint32_t cols, std::span<std::byte> out) noexcept;

/// Row `row` of the weight as F32 (the embedding look-up). out has cols elements.
void dequantize_row(const PackedWeight& weight, uint32_t row, float* out) noexcept;

/// Bytes of the 8-bit form of `n` rows of `cols` activations (64-byte aligned storage is the caller's).
size_t quantized_rows_size(uint32_t n, uint32_t cols) noexcept;

struct LinearKernel {
  const char* name;  // of isa_name
  Isa isa;
  /// x [n, cols] F32, rows `x_stride` floats apart → the 8-bit form, in a layout private to the kernel tier.
  void (*quantize_rows)(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out);
  /// y[r, o] for r < n and outputs of the tiles [tile_begin, tile_end); y rows are `y_stride` floats apart. Padding rows of the last tile are not written.
  void (*run_quantized)(const PackedWeight& weight, const std::byte* xq, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride);
  /// The same with float activations x [n, cols] and float arithmetic, for every weight type.
  void (*run_float)(const PackedWeight& weight, const float* x, size_t x_stride, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride);
};

/// All kernels of this build, slow portable reference first. Tests iterate this.
std::span<const LinearKernel> linear_kernels() noexcept;
/// The kernel of a tier; falls to no other tier.
const LinearKernel& linear_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
