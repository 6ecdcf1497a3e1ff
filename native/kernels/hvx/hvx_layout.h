// Geometry of the HVX layout and of prepared activations, and what every function checks. Freestanding: compiled for Hexagon and for hosts.
#pragma once

#include "kernels/hvx/lutra_hvx.h"

namespace lutra::hvx {

inline constexpr uint32_t kTileRows = LUTRA_HVX_TILE_ROWS;
inline constexpr uint32_t kVectorBytes = LUTRA_HVX_ALIGNMENT;
inline constexpr uint32_t kChunkCols = 32;
inline constexpr uint32_t kQuads = kChunkCols / 4;  // column quads of a chunk
inline constexpr uint32_t kMostBytes = 0x7fffffffu;

constexpr uint32_t divide_up(uint32_t a, uint32_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// --- weights ---------------------------------------------------------------------------------------------------------------------------

struct Nibble {
  uint32_t byte;
  bool high;
};

/// Where a chunk of 64 rows × 32 columns keeps plane `plane` of columns 4 · quad … 4 · quad + 3 of a row; bit j of the nibble belongs to column 4 · quad + j. Bytes 2 · row and 2 · row + 1
/// are a halfword lane: two planes of one row, which one VMPA weighs and adds.
constexpr Nibble plane_nibble(uint32_t bits, uint32_t row, uint32_t quad, uint32_t plane) {
  return bits == 4 ? Nibble{quad * kVectorBytes + 2 * row + plane % 2, plane >= 2} : Nibble{quad / 2 * kVectorBytes + 2 * row + plane, quad % 2 == 1};
}

/// Sizes in bytes of the parts of a weight. Groups follow one another in a tile: chunks, 64 scales, 64 minima or zero points.
struct Geometry {
  uint32_t bits, offset, chunks, group_chunks, groups, tiles;
  bool per_row;  // numbers are F32 (zero points S32), else F16 (zero points S16)

  static constexpr Geometry of(const lutra_hvx_weight& w) {
    const uint32_t chunks = divide_up(w.columns, kChunkCols), tiles = divide_up(w.rows, kTileRows);
    if (w.group == 0) return {w.bits, w.offset, chunks, chunks, 1, tiles, true};
    const uint32_t groups = (w.columns + w.group - 1) >> __builtin_ctz(w.group);  // a power of two: Hexagon has no division
    return {w.bits, w.offset, chunks, w.group / kChunkCols, groups, tiles, false};
  }
  constexpr uint32_t chunk_bytes(uint32_t rows = kTileRows) const { return rows * kChunkCols / 8 * bits; }
  /// Of 64 (or 16, in the canonical layout) scales or offsets.
  constexpr uint32_t number_bytes(uint32_t rows = kTileRows) const { return rows * (per_row ? 4 : 2); }
  constexpr uint32_t numbers_bytes(uint32_t rows = kTileRows) const { return number_bytes(rows) * (offset == LUTRA_HVX_SYMMETRIC ? 1 : 2); }
  constexpr uint32_t tile_bytes(uint32_t rows = kTileRows) const { return chunks * chunk_bytes(rows) + groups * numbers_bytes(rows); }
};

// --- activations -----------------------------------------------------------------------------------------------------------------------

inline constexpr uint32_t kPreparedMagic = 0x4c545631;  // "1VTL"

/// Starts prepared activations, which go on with: two vectors of tables for every chunk, then S32 sums of its 32 activations for every chunk.
struct PreparedHeader {
  uint32_t magic, columns;
  float step;  // of the integers that stand for the activations: a power of two, or NaN
};

struct PreparedLayout {
  uint32_t tables, sums, size;  // byte offsets; bytes of all
  static constexpr PreparedLayout of(uint32_t columns) {
    const uint32_t chunks = divide_up(columns, kChunkCols), sums = kVectorBytes + chunks * 2 * kVectorBytes;
    return {kVectorBytes, sums, sums + divide_up(4 * chunks, kVectorBytes) * kVectorBytes};
  }
};

/// 2^e, for normal ones.
inline float power_of_two(int32_t e) { return __builtin_bit_cast(float, static_cast<uint32_t>(e + 127) << 23); }

/// Value of an F16. Infinity and NaN become 2^16 and more.
inline float f16_value(uint16_t half) {
  const uint32_t magnitude = half & 0x7fffu;
  return __builtin_bit_cast(float, magnitude << 13 | (half & 0x8000u) << 16) * power_of_two(112);
}

// --- dequantisation --------------------------------------------------------------------------------------------------------------------

inline constexpr uint32_t kSpanCols = 128;                     // columns that are dequantised at once
inline constexpr uint32_t kScratchBytes = 98 * kVectorBytes;  // codes and tables of a span

// --- checks ----------------------------------------------------------------------------------------------------------------------------

constexpr bool takes(const lutra_hvx_weight& w) {
  return (w.bits == 2 || w.bits == 4) && (w.group == 0 || w.group == 32 || w.group == 64 || w.group == 128) && w.offset <= LUTRA_HVX_ZERO_POINT;
}

inline lutra_hvx_status check_weight(const lutra_hvx_weight* w) {
  if (w == nullptr) return LUTRA_HVX_BAD_POINTER;
  if (!takes(*w)) return LUTRA_HVX_BAD_FORMAT;
  if (w->rows == 0 || w->columns == 0 || w->columns > LUTRA_HVX_MAX_COLUMNS) return LUTRA_HVX_BAD_SHAPE;
  const Geometry geometry = Geometry::of(*w);
  return uint64_t{geometry.tiles} * geometry.tile_bytes() > kMostBytes ? LUTRA_HVX_BAD_SHAPE : LUTRA_HVX_OK;
}

inline bool aligned(const void* p, uintptr_t to = kVectorBytes) { return p != nullptr && reinterpret_cast<uintptr_t>(p) % to == 0; }

inline lutra_hvx_status check_buffer(const void* p, size_t size, size_t needed, uintptr_t alignment = kVectorBytes) {
  if (!aligned(p, alignment)) return LUTRA_HVX_BAD_POINTER;
  return size < needed ? LUTRA_HVX_BAD_SIZE : LUTRA_HVX_OK;
}

inline lutra_hvx_status check_tiles(const Geometry& geometry, uint32_t begin, uint32_t end) { return begin < end && end <= geometry.tiles ? LUTRA_HVX_OK : LUTRA_HVX_BAD_SHAPE; }

/// Rows of the tiles [begin, end).
constexpr uint32_t rows_of(const lutra_hvx_weight& w, uint32_t begin, uint32_t end) {
  const uint32_t first = begin * kTileRows, last = end * kTileRows;
  return (last < w.rows ? last : w.rows) - first;
}

}  // namespace lutra::hvx
