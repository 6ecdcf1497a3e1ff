// Formats of low-bit weights, and where their parts are in the packed layout (docs/architecture.md, "Packed CPU weights").
//
// A format is data: bits of a code, columns that share a scale, and what is stored beside the scale. The codes that plans and files use for it are computed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/linear/linear.h"

namespace lutra::kernels {

enum class Offset : uint8_t {
  kNone,     // value = (k · code − z) · d with constants of the bits, see Symmetric
  kMinimum,  // value = code · d + m
  kZero,     // value = (code − zero point) · d; the zero point is a small integer, stored as a float
};

struct LowBitFormat {
  uint8_t bits = 4;     // 1 … 4
  uint32_t group = 32;  // columns of a scale: 32, 64, 128, or 0 for the whole row
  Offset offset = Offset::kNone;

  friend bool operator==(const LowBitFormat&, const LowBitFormat&) = default;
};

inline constexpr uint32_t kChunkCols = 32;  // columns of a chunk: what one pass of a kernel multiplies
inline constexpr uint32_t kGroups[] = {32, 64, 128, 0};
inline constexpr uint32_t kLowBitCode = 32;  // the first of 48 codes

/// k and z of Offset::kNone: {−1, 1}, {−2 … 1}, {−4 … 3}, {−8 … 7}. Ternary weights are the codes 1, 2, 3 of two bits.
struct Symmetric {
  int32_t k, z;
  static constexpr Symmetric of(uint8_t bits) noexcept { return bits == 1 ? Symmetric{2, 1} : Symmetric{1, 1 << (bits - 1)}; }
};

/// 32 … 79: bits − 1, then the index of the group in kGroups, then the offset.
constexpr WeightType weight_type(const LowBitFormat& format) noexcept {
  uint32_t group = 0;
  while (kGroups[group] != format.group) ++group;
  return static_cast<WeightType>(kLowBitCode + (format.bits - 1u) + 4 * group + 16 * static_cast<uint32_t>(format.offset));
}

/// Nothing for types that are no low-bit formats.
constexpr std::optional<LowBitFormat> low_bit_format(WeightType type) noexcept {
  const uint32_t code = static_cast<uint32_t>(type) - kLowBitCode;
  if (static_cast<uint32_t>(type) < kLowBitCode || code >= 48) return std::nullopt;
  return LowBitFormat{static_cast<uint8_t>(1 + code % 4), kGroups[code / 4 % 4], static_cast<Offset>(code / 16)};
}

// --- geometry --------------------------------------------------------------------------------------------------------------------------

/// Bytes of 16 rows × 32 columns of codes.
constexpr size_t chunk_bytes(uint8_t bits) noexcept { return size_t{64} * bits; }

constexpr uint32_t chunks_of(uint32_t cols) noexcept { return (cols + kChunkCols - 1) / kChunkCols; }

/// Chunks of a whole group; all of a row's when the row has one scale.
constexpr uint32_t group_chunks(const LowBitFormat& format, uint32_t cols) noexcept { return format.group == 0 ? chunks_of(cols) : format.group / kChunkCols; }

/// Bytes of one of the two numbers of a row that stand behind the chunks of a group.
constexpr size_t number_bytes(const LowBitFormat& format) noexcept { return format.group == 0 ? 4 : 2; }

/// Bytes behind the chunks of a group: 16 scales [, 16 minima or zero points].
constexpr size_t numbers_bytes(const LowBitFormat& format) noexcept { return kTileRows * number_bytes(format) * (format.offset == Offset::kNone ? 1 : 2); }

/// Bytes of one tile of 16 rows. Groups follow one another; the last one may have fewer chunks.
constexpr size_t tile_bytes(const LowBitFormat& format, uint32_t cols) noexcept {
  const uint32_t chunks = chunks_of(cols), per_group = group_chunks(format, cols);
  const uint32_t groups = per_group == 0 ? 0 : (chunks + per_group - 1) / per_group;
  return chunks * chunk_bytes(format.bits) + groups * numbers_bytes(format);
}

// --- codes of a chunk ------------------------------------------------------------------------------------------------------------------

/// A nibble of a chunk.
struct Nibble {
  size_t byte;
  bool high;
};

/// 4 bits: the code of (row, column).
constexpr Nibble code_nibble(uint32_t row, uint32_t col) noexcept { return {col % 16 / 4 * 64 + 4 * row + col % 4, col >= 16}; }

/// 1 to 3 bits: plane `plane` of columns 4 · quad … 4 · quad + 3 of a row; bit j of the nibble belongs to column 4 · quad + j. The four bytes of a row's word in one pass
/// (all low or all high nibbles of 64 bytes) are four planes or column quads of that row, so that a dot product of four bytes adds them.
constexpr Nibble plane_nibble(uint8_t bits, uint32_t row, uint32_t quad, uint32_t plane) noexcept {
  const uint32_t place = bits == 2 ? 2 * quad + plane : bits == 3 ? 3 * quad + plane : quad;  // 4 places a pass, 2 passes a vector of 64 bytes
  return {place / 8 * 64 + 4 * row + place % 4, place / 4 % 2 == 1};
}

}  // namespace lutra::kernels
