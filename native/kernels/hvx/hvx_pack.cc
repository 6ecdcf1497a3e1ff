// Sizes, and packing of lutra's canonical layout (kernels/lowbit/format.h) for HVX. No vector instructions: also compiled for hosts.
#include "kernels/hvx/hvx_layout.h"

namespace lutra::hvx {
namespace {

constexpr uint32_t kCanonicalRows = 16;
constexpr uint32_t kTilesOfTile = kTileRows / kCanonicalRows;
constexpr uint32_t kMostZeroPoint = 16;
constexpr uint16_t kLimitF16 = 0x5800;  // 128

/// Bit `plane` of four columns of a row, out of a canonical chunk of 16 rows: nibbles of codes at 4 bits, nibbles of planes at 2.
uint32_t canonical_plane(uint32_t bits, const uint8_t* chunk, uint32_t row, uint32_t quad, uint32_t plane) {
  if (bits == 2) {
    const uint32_t place = 2 * quad + plane;
    return chunk[place / 8 * 64 + 4 * row + place % 4] >> (place / 4 % 2 * 4) & 15u;
  }
  uint32_t nibble = 0;
  for (uint32_t j = 0; j < 4; ++j) {
    const uint32_t code = chunk[quad % 4 * 64 + 4 * row + j] >> (quad / 4 * 4) & 15u;
    nibble |= (code >> plane & 1u) << j;
  }
  return nibble;
}

void pack_chunk(uint32_t bits, const uint8_t* from, uint32_t first_row, uint8_t* to) {
  for (uint32_t row = 0; row < kCanonicalRows; ++row) {
    for (uint32_t quad = 0; quad < kQuads; ++quad) {
      for (uint32_t plane = 0; plane < bits; ++plane) {
        const Nibble at = plane_nibble(bits, first_row + row, quad, plane);
        to[at.byte] = static_cast<uint8_t>(to[at.byte] | canonical_plane(bits, from, row, quad, plane) << (at.high ? 4 : 0));
      }
    }
  }
}

/// The integer that a zero point (F16 or F32) is, or one too many.
uint32_t zero_point(const Geometry& geometry, const uint8_t* number) {
  float value;
  if (geometry.per_row) {
    __builtin_memcpy(&value, number, sizeof value);
  } else {
    uint16_t half;
    __builtin_memcpy(&half, number, sizeof half);
    value = f16_value(half);
  }
  for (uint32_t z = 0; z <= kMostZeroPoint; ++z) {
    if (value == static_cast<float>(z)) return z;
  }
  return kMostZeroPoint + 1;
}

/// Whether a scale or minimum is finite and, in F16, below the limit.
bool is_taken(const Geometry& geometry, const uint8_t* number) {
  if (!geometry.per_row) {
    uint16_t value;
    __builtin_memcpy(&value, number, sizeof value);
    return (value & 0x7fffu) < kLimitF16;
  }
  uint32_t value;
  __builtin_memcpy(&value, number, sizeof value);
  return (value & 0x7f800000u) != 0x7f800000u;
}

/// 16 scales, and 16 offsets behind them, to their places among the 64 of a tile.
lutra_hvx_status pack_numbers(const Geometry& geometry, const uint8_t* from, uint32_t first_row, uint8_t* to) {
  const uint32_t bytes = geometry.per_row ? 4 : 2;
  const bool has_minimum = geometry.offset == LUTRA_HVX_MINIMUM;
  for (uint32_t i = 0; i < kCanonicalRows * (has_minimum ? 2 : 1); ++i) {
    if (!is_taken(geometry, from + i * bytes)) return LUTRA_HVX_BAD_VALUE;
  }
  __builtin_memcpy(to + first_row * bytes, from, kCanonicalRows * bytes);
  from += kCanonicalRows * bytes;
  to += geometry.number_bytes() + first_row * bytes;
  if (has_minimum) __builtin_memcpy(to, from, kCanonicalRows * bytes);
  if (geometry.offset != LUTRA_HVX_ZERO_POINT) return LUTRA_HVX_OK;
  for (uint32_t row = 0; row < kCanonicalRows; ++row) {
    const uint32_t z = zero_point(geometry, from + row * bytes);
    if (z > kMostZeroPoint) return LUTRA_HVX_BAD_VALUE;
    __builtin_memcpy(to + row * bytes, &z, bytes);
  }
  return LUTRA_HVX_OK;
}

/// One canonical tile to its 16 rows of an HVX tile, which holds zeros there.
lutra_hvx_status pack_tile(const Geometry& geometry, const uint8_t* from, uint32_t first_row, uint8_t* to) {
  for (uint32_t group = 0; group < geometry.groups; ++group) {
    const uint32_t begin = group * geometry.group_chunks, left = geometry.chunks - begin, chunks = left < geometry.group_chunks ? left : geometry.group_chunks;
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) pack_chunk(geometry.bits, from + chunk * geometry.chunk_bytes(kCanonicalRows), first_row, to + chunk * geometry.chunk_bytes());
    from += chunks * geometry.chunk_bytes(kCanonicalRows);
    to += chunks * geometry.chunk_bytes();
    if (const lutra_hvx_status status = pack_numbers(geometry, from, first_row, to); status != LUTRA_HVX_OK) return status;
    from += geometry.numbers_bytes(kCanonicalRows);
    to += geometry.numbers_bytes();
  }
  return LUTRA_HVX_OK;
}

}  // namespace
}  // namespace lutra::hvx

using namespace lutra::hvx;

lutra_hvx_status lutra_hvx_sizes_of(const lutra_hvx_weight* weight, lutra_hvx_sizes* sizes) {
  if (!aligned(sizes, alignof(lutra_hvx_sizes))) return LUTRA_HVX_BAD_POINTER;
  if (const lutra_hvx_status status = check_weight(weight); status != LUTRA_HVX_OK) return status;
  const Geometry geometry = Geometry::of(*weight);
  sizes->canonical = size_t{divide_up(weight->rows, kCanonicalRows)} * geometry.tile_bytes(kCanonicalRows);
  sizes->packed = size_t{geometry.tiles} * geometry.tile_bytes();
  sizes->prepared = PreparedLayout::of(weight->columns).size;
  sizes->scratch = kScratchBytes;
  sizes->tiles = geometry.tiles;
  return LUTRA_HVX_OK;
}

lutra_hvx_status lutra_hvx_pack(const lutra_hvx_weight* weight, const void* canonical, size_t canonical_size, void* packed, size_t packed_size) {
  if (const lutra_hvx_status status = check_weight(weight); status != LUTRA_HVX_OK) return status;
  const Geometry geometry = Geometry::of(*weight);
  const uint32_t tiles = divide_up(weight->rows, kCanonicalRows), stride = geometry.tile_bytes(kCanonicalRows);
  if (const lutra_hvx_status status = check_buffer(canonical, canonical_size, size_t{tiles} * stride, 1); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(packed, packed_size, size_t{geometry.tiles} * geometry.tile_bytes()); status != LUTRA_HVX_OK) return status;
  auto* to = static_cast<uint8_t*>(packed);
  __builtin_memset(to, 0, size_t{geometry.tiles} * geometry.tile_bytes());
  for (uint32_t tile = 0; tile < tiles; ++tile) {
    const uint8_t* from = static_cast<const uint8_t*>(canonical) + size_t{tile} * stride;
    const lutra_hvx_status status = pack_tile(geometry, from, tile % kTilesOfTile * kCanonicalRows, to + size_t{tile / kTilesOfTile} * geometry.tile_bytes());
    if (status != LUTRA_HVX_OK) return status;
  }
  return LUTRA_HVX_OK;
}
