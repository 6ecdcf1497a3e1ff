// Low-bit weights -> F16, by two look-ups (T-MAN): bits of four columns -> their codes, code -> value in a table of its row and group. Spans of 128 columns, tiles of 64 rows.
#include "kernels/hvx/hvx_layout.h"
#include "kernels/hvx/hvx_numbers.h"
#include "kernels/hvx/hvx_vectors.h"

namespace lutra::hvx {
namespace {

constexpr uint32_t kSpanChunks = kSpanCols / kChunkCols;

/// Constant tables for the first look-up.
struct Spread {
  alignas(kVectorBytes) uint16_t half[2][64];
  /// Entry e: bit j of e at bit 4 · j, one code in each nibble; in the second vector two bits further up.
  constexpr Spread() : half{} {
    for (uint32_t e = 0; e < 16; ++e) {
      uint32_t codes = 0;
      for (uint32_t j = 0; j < 4; ++j) codes |= (e >> j & 1u) << (4 * j);
      half[0][table_half(0, e)] = static_cast<uint16_t>(codes);
      half[1][table_half(0, e)] = static_cast<uint16_t>(codes << 2);
    }
  }
};
constexpr Spread kSpread;

/// Rows × vectors -> rows one after the other: element i of vector v goes to place N · i + v. Elements of `Bytes` bytes.
template <int32_t Bytes, uint32_t N>
void transpose(Vector (&v)[N]) {
  for (uint32_t stage = 1; stage < N; stage *= 2) {
    Vector next[N];
    for (uint32_t i = 0; i < N / 2; ++i) {
      const Pair pair = Q6_W_vshuff_VVR(v[i + N / 2], v[i], -Bytes);
      next[2 * i] = low(pair);
      next[2 * i + 1] = high(pair);
    }
    for (uint32_t i = 0; i < N; ++i) v[i] = next[i];
  }
}

// --- first look-up: planes -> codes ----------------------------------------------------------------------------------------------------

/// Codes of a chunk, 4 bits each whatever they have: 16 bytes a row, rows one after the other.
template <uint32_t Bits>
[[gnu::noinline]] void codes_of(const Vector* chunk, Vector* codes) {
  const auto* spread = reinterpret_cast<const Vector*>(&kSpread);
  Vector quads[kQuads];
  for (uint32_t quad = 0; quad < kQuads; quad += 4 / Bits) {
    const Vector low_nibbles = *chunk++, high_nibbles = Q6_Vub_vlsr_VubR(low_nibbles, 4);
    const Pair first = look_up(low_nibbles, spread[0], 0);  // of the even plane in the low vector, the odd one in the high
    if constexpr (Bits == 4) {
      const Pair both = Q6_Wh_vlut16or_WhVbVhR(first, high_nibbles, spread[1], 0);
      quads[quad] = Q6_Vh_vaslacc_VhVhR(low(both), high(both), 1);
    } else {
      const Pair second = look_up(high_nibbles, spread[0], 0);
      quads[quad] = Q6_Vh_vaslacc_VhVhR(low(first), high(first), 1);
      quads[quad + 1] = Q6_Vh_vaslacc_VhVhR(low(second), high(second), 1);
    }
  }
  transpose<2>(quads);
  for (uint32_t i = 0; i < kQuads; ++i) codes[i] = quads[i];
}

// --- tables of the second look-up ------------------------------------------------------------------------------------------------------

/// Values of 32 rows for one code after the other: start + code · step, in units of 2^(exponent - 44).
struct Line {
  Vector start, step, exponent;
};

Vector shifted(Vector significand, Vector own, Vector common) { return Q6_Vw_vasl_VwVw(significand, Q6_Vw_vsub_VwVw(own, Q6_Vw_vsub_VwVw(common, splat(19)))); }

/// The exponent is a minimum's, or 4 more than a scale's, whose products with codes have 4 bits more; whichever is larger. So both fit, and a number loses bits only where the other is 2^16 times
/// as large: too small to be seen after rounding, but for whether it is zero, which decides ties, and for code 0, whose value is the minimum alone (group_tables).
template <uint32_t Bits, uint32_t Offset>
Line line_of(const Parts& scale, const Parts& minimum, Vector zero) {
  Vector exponent = Q6_Vw_vadd_VwVw(scale.exponent, splat(4));
  if constexpr (Offset == LUTRA_HVX_MINIMUM) exponent = Q6_Vw_vmax_VwVw(exponent, minimum.exponent);
  const Vector step = with_sign(shifted(scale.significand, scale.exponent, exponent), scale.negative), none = Q6_V_vzero();
  if constexpr (Offset == LUTRA_HVX_MINIMUM) {
    const Vector magnitude = Q6_Vw_vmax_VwVw(shifted(minimum.significand, minimum.exponent, exponent), Q6_Vw_vmin_VwVw(minimum.significand, splat(1)));
    return {with_sign(magnitude, minimum.negative), step, exponent};
  }
  if constexpr (Offset == LUTRA_HVX_ZERO_POINT) return {Q6_Vw_vmpyieacc_VwVwVuh(none, Q6_Vw_vsub_VwVw(none, step), zero), step, exponent};
  return {Q6_Vw_vsub_VwVw(none, Q6_Vw_vasl_VwR(step, Bits - 1)), step, exponent};
}

/// magnitude · 2^(exponent - 44), below 2^31, to the nearest F16, ties to even. F16 ends at a step of 2^-24: small ones are shifted up by no more than their exponent, which leaves no field.
Vector to_f16(Vector magnitude, Vector exponent) {
  const Vector up = Q6_Vw_vmin_VwVw(Q6_Vw_vnormamt_Vw(magnitude), exponent);
  const Vector shifted = Q6_Vw_vasl_VwVw(magnitude, up), odd = Q6_V_vand_VV(Q6_Vuw_vlsr_VuwR(shifted, 20), splat(1));
  const Vector rounded = Q6_Vuw_vlsr_VuwR(Q6_Vw_vadd_VwVw(Q6_Vw_vadd_VwVw(shifted, odd), splat((1 << 19) - 1)), 20);
  // Its hidden bit, and a carry, add to the field.
  return Q6_Vw_vadd_VwVw(rounded, Q6_Vw_vasl_VwR(Q6_Vw_vsub_VwVw(exponent, up), 10));
}

/// Where 64 rows are on their lines, with signs; zeros are +0.
Vector to_f16(const Line& even, const Line& odd) {
  const Vector halves = Q6_Vh_vshuffe_VhVh(to_f16(Q6_Vw_vabs_Vw(odd.start), odd.exponent), to_f16(Q6_Vw_vabs_Vw(even.start), even.exponent));
  return Q6_V_vor_VV(halves, Q6_V_vand_VV(Q6_Vh_vshuffo_VhVh(odd.start, even.start), splat(static_cast<int32_t>(0x80008000u))));
}

/// F16 with zeros made +0.
Vector plus_zeros(Vector halves) { return Q6_V_vand_QV(Q6_Q_vcmp_gt_VhVh(Q6_V_vand_VV(halves, splat(0x7fff7fff)), Q6_V_vzero()), halves); }

/// Tables of a group for 64 rows, four rows a vector.
using GroupTables = void (*)(const Vector* numbers, Vector* tables);

template <uint32_t Bits, uint32_t Offset>
[[gnu::noinline]] void group_tables(const Vector* numbers, Vector* tables) {
  constexpr bool kHasMinimum = Offset == LUTRA_HVX_MINIMUM;
  const PartsPair scales = wide_parts(parts_of(numbers[0])), minima = kHasMinimum ? wide_parts(parts_of(numbers[1])) : scales;
  const Pair zeros = Q6_Wuw_vzxt_Vuh(Offset == LUTRA_HVX_ZERO_POINT ? numbers[1] : Q6_V_vzero());
  Line even = line_of<Bits, Offset>(scales.even, minima.even, low(zeros)), odd = line_of<Bits, Offset>(scales.odd, minima.odd, high(zeros));
  Vector values[16];
  for (uint32_t code = 1u << Bits; code < 16; ++code) values[code] = Q6_V_vzero();
  for (uint32_t code = 0; code < 1u << Bits; ++code) {
    values[code] = to_f16(even, odd);
    even.start = Q6_Vw_vadd_VwVw(even.start, even.step);
    odd.start = Q6_Vw_vadd_VwVw(odd.start, odd.step);
  }
  if (kHasMinimum) values[0] = plus_zeros(numbers[1]);
  transpose<2>(values);
  for (uint32_t i = 0; i < 16; ++i) tables[i] = Q6_Vh_vshuff_Vh(values[i]);
}

template <uint32_t Bits>
GroupTables group_tables_of(uint32_t offset) {
  static constexpr GroupTables kTables[] = {group_tables<Bits, LUTRA_HVX_SYMMETRIC>, group_tables<Bits, LUTRA_HVX_MINIMUM>, group_tables<Bits, LUTRA_HVX_ZERO_POINT>};
  return kTables[offset];
}

uint16_t to_f16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value), magnitude = bits & 0x7fffffffu, sign = bits >> 16 & 0x8000u;
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) return static_cast<uint16_t>(sign | (__builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000u));
  return static_cast<uint16_t>(sign | (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13);
}

/// Tables of 64 rows with F32 numbers.
void row_tables(const Geometry& geometry, const uint8_t* numbers, Vector* tables) {
  for (uint32_t row = 0; row < kTileRows; ++row) {
    float d, m = 0.0f;
    int32_t z = geometry.offset == LUTRA_HVX_SYMMETRIC ? 1 << (geometry.bits - 1) : 0;
    __builtin_memcpy(&d, numbers + 4 * row, 4);
    if (geometry.offset == LUTRA_HVX_MINIMUM) __builtin_memcpy(&m, numbers + geometry.number_bytes() + 4 * row, 4);
    if (geometry.offset == LUTRA_HVX_ZERO_POINT) __builtin_memcpy(&z, numbers + geometry.number_bytes() + 4 * row, 4);
    auto* table = reinterpret_cast<uint16_t*>(tables + row / 4);
    for (uint32_t code = 0; code < 1u << geometry.bits; ++code) table[table_half(row % 4, code)] = to_f16(__builtin_fmaf(static_cast<float>(static_cast<int32_t>(code) - z), d, m) + 0.0f);
  }
}

// --- second look-up: codes -> values ---------------------------------------------------------------------------------------------------

/// Scratch memory of a thread.
struct Scratch {
  Vector codes[kSpanChunks][kQuads];
  Vector tables[kSpanChunks][16];  // of up to four groups of a span
  Vector unused[2];                // takes rows that are not there
};
static_assert(sizeof(Scratch) == kScratchBytes);

/// High nibbles that say which table of a span (of `Tables` ones) a column uses, in row `row` of four.
template <uint32_t Tables>
Vector selections(uint32_t row) {
  if constexpr (Tables == 1) return Q6_V_vzero();
  Vector selected = Q6_V_vzero();
  for (uint32_t table = 1; table < Tables; ++table) {
    const HVX_VectorPred behind = Q6_Q_not_Q(Q6_Q_vsetq_R(static_cast<int32_t>(table * kSpanCols / Tables)));
    selected = Q6_Vb_vadd_VbVb(selected, Q6_V_vand_QR(behind, 0x40404040));
  }
  return Q6_V_vor_VV(selected, splat(static_cast<int32_t>(row * 0x10101010u)));
}

/// F16 values of 128 columns of a row; `row` of four chooses among the tables of a vector.
template <uint32_t Tables>
Pair values_of(Vector codes, const Vector* tables, Vector selected, uint32_t row) {
  Pair values;
  if constexpr (Tables == 1) {
    values = look_up(codes, tables[0], static_cast<int32_t>(row));
  } else {
    codes = Q6_V_vor_VV(codes, selected);
    values = Q6_Wh_vlut16_VbVhR(codes, tables[0], static_cast<int32_t>(row));
    for (uint32_t table = 1; table < Tables; ++table) values = Q6_Wh_vlut16or_WhVbVhR(values, codes, tables[16 * table], static_cast<int32_t>(4 * table + row));
  }
  return Q6_W_vshuff_VVR(high(values), low(values), -2);
}

/// A span of up to 64 rows: two vectors a row, or only the first.
template <uint32_t Tables, bool Both>
[[gnu::noinline]] void write_rows(Scratch& scratch, uint32_t rows, uint16_t* out, size_t stride) {
  const Vector selected[4] = {selections<Tables>(0), selections<Tables>(1), selections<Tables>(2), selections<Tables>(3)};
  const auto write = [&](uint32_t row, Vector codes, const Vector* tables) {
    const Pair values = values_of<Tables>(codes, tables, selected[row % 4], row % 4);
    auto* to = row < rows ? reinterpret_cast<Vector*>(out + row * stride) : scratch.unused;
    to[0] = low(values);
    if (Both) to[1] = high(values);
  };
#pragma clang loop unroll(disable)
  for (uint32_t eight = 0; 8 * eight < rows; ++eight) {
    Vector codes[kSpanChunks];
    for (uint32_t chunk = 0; chunk < kSpanChunks; ++chunk) codes[chunk] = scratch.codes[chunk][eight];
    transpose<16>(codes);
#pragma clang loop unroll(full)
    for (uint32_t i = 0; i < 4; ++i) {
      // With one table nobody looks at the high nibbles.
      const Vector low_codes = Tables == 1 ? codes[i] : Q6_V_vand_VV(codes[i], splat(0x0f0f0f0f));
      const Pair two = Q6_W_vshuff_VVR(Q6_Vub_vlsr_VubR(codes[i], 4), low_codes, -1);
      const Vector* tables = scratch.tables[0] + 2 * eight + i / 2;
      write(8 * eight + 2 * i, low(two), tables);
      write(8 * eight + 2 * i + 1, high(two), tables);
    }
  }
}

template <uint32_t Tables>
void write_span(Scratch& scratch, uint32_t rows, uint32_t columns, uint16_t* out, size_t stride) {
  if (columns > kSpanCols / 2) write_rows<Tables, true>(scratch, rows, out, stride);
  else write_rows<Tables, false>(scratch, rows, out, stride);
}

/// Zeros behind the last column of every row, up to the end of the vector.
void clear_tail(uint32_t columns, uint32_t rows, uint16_t* out, size_t stride) {
  const uint32_t used = columns % 64;
  if (used == 0) return;
  const HVX_VectorPred kept = Q6_Q_vsetq_R(static_cast<int32_t>(2 * used));
  for (uint32_t row = 0; row < rows; ++row) {
    auto* last = reinterpret_cast<Vector*>(out + row * stride + (columns - used));
    *last = Q6_V_vand_QV(kept, *last);
  }
}

template <uint32_t Bits>
void tile_values(const Geometry& geometry, const uint8_t* tile, Scratch& scratch, uint32_t rows, uint32_t columns, uint16_t* out, size_t stride) {
  const GroupTables make_tables = group_tables_of<Bits>(geometry.offset);
  if (geometry.per_row) row_tables(geometry, tile + geometry.chunks * geometry.chunk_bytes(), scratch.tables[0]);
  for (uint32_t begin = 0; begin < geometry.chunks; begin += kSpanChunks) {
    uint32_t group = 0;
    for (uint32_t i = 0; i < kSpanChunks && begin + i < geometry.chunks; ++i) {
      codes_of<Bits>(reinterpret_cast<const Vector*>(tile), scratch.codes[i]);
      tile += geometry.chunk_bytes();
      const uint32_t end = begin + i + 1;
      if (geometry.per_row || ((end & (geometry.group_chunks - 1)) != 0 && end != geometry.chunks)) continue;
      make_tables(reinterpret_cast<const Vector*>(tile), scratch.tables[group++]);
      tile += geometry.numbers_bytes();
    }
    const uint32_t columns_of_table = geometry.per_row ? kSpanCols : geometry.group_chunks * kChunkCols;
    const auto write = columns_of_table == 32 ? write_span<4> : columns_of_table == 64 ? write_span<2> : write_span<1>;
    write(scratch, rows, columns - begin * kChunkCols, out + begin * kChunkCols, stride);
  }
  clear_tail(columns, rows, out, stride);
}

}  // namespace
}  // namespace lutra::hvx

using namespace lutra::hvx;

lutra_hvx_status lutra_hvx_dequantize(const lutra_hvx_weight* weight, const void* packed, size_t packed_size, uint32_t tile_begin, uint32_t tile_end, void* scratch, size_t scratch_size,
                                      uint16_t* out, size_t stride, size_t out_count) {
  if (const lutra_hvx_status status = check_weight(weight); status != LUTRA_HVX_OK) return status;
  const Geometry geometry = Geometry::of(*weight);
  if (const lutra_hvx_status status = check_tiles(geometry, tile_begin, tile_end); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(packed, packed_size, size_t{geometry.tiles} * geometry.tile_bytes()); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(scratch, scratch_size, kScratchBytes); status != LUTRA_HVX_OK) return status;
  const uint32_t rows = rows_of(*weight, tile_begin, tile_end), width = divide_up(weight->columns, 64) * 64;
  if (!aligned(out)) return LUTRA_HVX_BAD_POINTER;
  if (stride % 64 != 0 || stride < width || stride > kMostBytes) return LUTRA_HVX_BAD_SIZE;
  const uint64_t needed = uint64_t{rows - 1} * stride + width;
  if (needed > kMostBytes / 2 || out_count < needed) return LUTRA_HVX_BAD_SIZE;

  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint8_t* data = static_cast<const uint8_t*>(packed) + size_t{tile} * geometry.tile_bytes();
    const auto run = geometry.bits == 4 ? tile_values<4> : tile_values<2>;
    run(geometry, data, *static_cast<Scratch*>(scratch), rows_of(*weight, tile, tile + 1), weight->columns, out + size_t{tile - tile_begin} * kTileRows * stride, stride);
  }
  return LUTRA_HVX_OK;
}
