// Matrix-vector products of low-bit weights (1 to 4 bits) for decoding, and with more rows for prefill on the CPU.
//
// Two families of kernels read one packed layout:
//  - lut: per 4 columns a table of 16 sums ±x, one look-up for 4 weights of a bit plane (T-MAC, "bit-serial"); table entries in 8 bits with a scale per 32 columns;
//  - dot: codes unpacked, multiplied with activations in 8 bits with a scale per 32 columns.
// Both add in int32 without loss, so every variant of a family gives the accumulators of its reference. Micro-kernel contract: nothing here allocates, threads or throws; the
// caller provides memory, cuts [tile_begin, tile_end) into tasks and checks shapes and lengths before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/cpu.h"
#include "kernels/lowbit/format.h"

namespace lutra::kernels {

/// Codes of a weight, before packing; row major. `codes` [rows, cols] below 2^bits; `scales` and `offsets` [rows, groups of a row], `offsets` NULL with Offset::kNone.
struct UnpackedWeight {
  LowBitFormat format;
  uint32_t rows = 0, cols = 0;
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* offsets = nullptr;
};

/// "w3g32", "w2g64m" (minimum), "w4g128z" (zero point), "w2row".
std::string low_bit_name(const LowBitFormat& format);

/// Bytes of the packed form.
size_t low_bit_packed_size(const LowBitFormat& format, uint32_t rows, uint32_t cols) noexcept;

/// Packs into the canonical layout; out.size() == low_bit_packed_size(…). Scales and offsets are rounded to F16 unless the format has one per row.
void pack_low_bit(const UnpackedWeight& weight, std::span<std::byte> out) noexcept;

/// What quantize_low_bit fills: [rows, cols], [rows, groups of a row], the same (untouched with Offset::kNone).
struct LowBitCodes {
  uint8_t* codes;
  float* scales;
  float* offsets;
};

/// Codes of `w` [rows, cols] with the scales (and offsets) that make Σ importance · (w − value)² small: several ranges, each improved by least squares. `importance` [cols] is
/// positive, best E[x²] of the inputs; NULL counts all columns alike. `w` is finite.
void quantize_low_bit(const LowBitFormat& format, const float* w, const float* importance, uint32_t rows, uint32_t cols, LowBitCodes out) noexcept;

/// Row `row` as F32; `out` has cols elements. Of the canonical layout.
void dequantize_low_bit_row(const PackedWeight& weight, uint32_t row, float* out) noexcept;

enum class Family : uint8_t { kLut, kDot };

struct LowBitKernel {
  const char* name;  // "lut-avx2"
  Family family;
  Isa isa;
  /// Whether it multiplies weights of that many bits.
  bool (*takes)(uint8_t bits);
  /// Bytes of `n` prepared rows of `cols` activations; 64-byte aligned storage is the caller's.
  size_t (*prepared_size)(uint32_t n, uint32_t cols);
  /// x [n, cols] F32, rows `x_stride` floats apart → tables, or activations in 8 bits. NaN and infinities make the products of their chunk NaN.
  void (*prepare)(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out);
  /// y[r, o] for r < n and outputs o of the tiles [tile_begin, tile_end); y rows `y_stride` floats apart. Rows of padding are not written.
  void (*run)(const PackedWeight& weight, const std::byte* prepared, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride);
  /// The int32 sums of one tile and prepared row `row` before any scale: out[chunk · 16 + row]. lut: Σ plane weight · entry; dot: Σ code · x. For tests.
  void (*accumulators)(const PackedWeight& weight, const std::byte* prepared, uint32_t row, uint32_t tile, int32_t* out);
};

/// All kernels of this build, portable references first. Tests iterate this.
std::span<const LowBitKernel> low_bit_kernels() noexcept;

/// What runs a weight of that format with n rows on a tier, by the measured table (lowbit_registry.cc); it always has the tier's instructions.
const LowBitKernel& low_bit_kernel(const LowBitFormat& format, Isa isa, uint32_t n) noexcept;

}  // namespace lutra::kernels
