// What the kernels of low-bit weights share: places inside a packed weight, the tables of the lut family, the end of a group.
#pragma once

#include <cmath>

#include "kernels/linear/linear_internal.h"
#include "kernels/lowbit/lowbit.h"

namespace lutra::kernels {

inline constexpr uint32_t kQuads = kChunkCols / 4;  // column quads of a chunk
inline constexpr size_t kTableBytes = 16;           // of a quad

/// Prepared row of the lut family: the tables of all quads, then per chunk: F32 half the step of its table entries, F32 Σ x; padded to 64 bytes. So that
/// Σ code · x = half step · Σ plane weight · entry + (2^bits − 1) / 2 · Σ x.
struct TableLayout {
  size_t half_step, sum, stride;
  static constexpr TableLayout of(uint32_t cols) noexcept {
    const size_t chunks = chunks_of(cols), tables = chunks * kQuads * kTableBytes;
    return {tables, tables + 4 * chunks, (tables + 8 * chunks + 63) / 64 * 64};
  }
};

/// A prepared row of either family: the body that a tier makes (TableLayout or QuantizedLayout), then the spikes that the body leaves out: U32 count, then {U32 column, F32 x} each.
struct PreparedLayout {
  size_t spikes, stride;
  static constexpr PreparedLayout of(Family family, uint32_t cols) noexcept {
    const size_t body = family == Family::kLut ? TableLayout::of(cols).stride : QuantizedLayout::of(cols).stride;
    return {body, (body + 4 + 8 * size_t{chunks_of(cols)} + 63) / 64 * 64};
  }
};

template <Family F>
size_t prepared_size(uint32_t n, uint32_t cols) {
  return n * PreparedLayout::of(F, cols).stride;
}

/// One row → its body.
using PrepareBody = void (*)(const float* x, uint32_t cols, std::byte* out);

/// Prepares n rows. An activation that dwarfs the other 31 of its chunk would take their precision: it is left out of the body and multiplied on its own (add_spikes).
void prepare_rows(Family family, PrepareBody body, const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) noexcept;

template <Family F, PrepareBody Body>
void prepare(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
  prepare_rows(F, Body, x, x_stride, n, cols, out);
}

/// One element of the canonical layout.
float low_bit_value(const PackedWeight& weight, const LowBitFormat& format, uint32_t row, uint32_t col) noexcept;

/// y[lane] += what the spikes of a prepared row add to the outputs of a tile.
void add_spikes(const PackedWeight& weight, const LowBitFormat& format, Family family, uint32_t tile, const std::byte* prepared_row, float* y) noexcept;

/// y = f · Σ over groups of  d · (F + c · X)  with F = Σ of what a kernel adds up per chunk, X = Σ x, and with a minimum + m · X. These are f, which is 1 or 2, and c; a zero
/// point is taken off c.
struct GroupTerms {
  float f, c;
  static constexpr GroupTerms of(const LowBitFormat& format, Family family) noexcept {
    const float centre = family == Family::kLut ? static_cast<float>((1 << format.bits) - 1) / 2 : 0.0f;
    if (format.offset != Offset::kNone) return {1.0f, centre};
    const Symmetric s = Symmetric::of(format.bits);
    return {static_cast<float>(s.k), centre - static_cast<float>(s.z) / static_cast<float>(s.k)};
  }
};

inline const std::byte* low_bit_tile(const PackedWeight& weight, const LowBitFormat& format, uint32_t tile) noexcept {
  return weight.data + static_cast<size_t>(tile) * tile_bytes(format, weight.cols);
}

/// Calls `body(index, chunk)` for the chunks of a tile.
template <class Body>
void for_each_chunk(const PackedWeight& weight, const LowBitFormat& format, uint32_t tile, const Body& body) {
  const uint32_t per_group = group_chunks(format, weight.cols);
  const std::byte* chunk = low_bit_tile(weight, format, tile);
  for (uint32_t index = 0; index < chunks_of(weight.cols); ++index, chunk += chunk_bytes(format.bits)) {
    if (index != 0 && index % per_group == 0) chunk += numbers_bytes(format);
    body(index, chunk);
  }
}

/// Number `row` of the 16 at `numbers`.
inline float group_number(const LowBitFormat& format, const std::byte* numbers, uint32_t row) noexcept {
  return format.group == 0 ? load_as<float>(numbers + 4 * row) : f16_to_f32(load_as<uint16_t>(numbers + 2 * row));
}

/// Plane weights of the four bytes of a word in each of the 2 · bits passes over a chunk.
constexpr uint32_t pass_weights(uint8_t bits, uint32_t pass) noexcept {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t plane = bits == 2 ? i % 2 : bits == 3 ? (4 * pass + i) % 3 : 0;
    word |= (1u << plane) << (8 * i);
  }
  return word;
}

/// Column quad that byte i of a word belongs to in a pass.
constexpr uint32_t pass_quad(uint8_t bits, uint32_t pass, uint32_t i) noexcept { return (4 * pass + i) / bits; }

inline bool takes_planes(uint8_t bits) { return bits >= 1 && bits <= 3; }
inline bool takes_all(uint8_t bits) { return bits >= 1 && bits <= 4; }

extern const LowBitKernel kPortableLut, kPortableDot;
#ifdef LUTRA_X86
extern const LowBitKernel kAvx2Lut, kAvx2Dot, kAvxVnniDot, kAvx512Dot, kAvx512VbmiLut;
/// PrepareBody of the lut family for every x86 tier.
void build_tables_avx2(const float* x, uint32_t cols, std::byte* out);
#endif
#ifdef LUTRA_ARM64
extern const LowBitKernel kNeonLut, kNeonDot, kDotprodLut, kDotprodDot;
#endif

}  // namespace lutra::kernels
