// Products of low-bit weights and one vector by table look-up (VLUT16), for tiles of 64 rows: all in integers up to the last step, so that nothing but this step rounds.
#include "kernels/hvx/hvx_layout.h"
#include "kernels/hvx/hvx_numbers.h"
#include "kernels/hvx/hvx_vectors.h"

namespace lutra::hvx {
namespace {

// A piece of this many columns cannot overflow 32 bits: 15 · 32,767 · 16,384 / 4 < 2^31.
constexpr uint32_t kPieceChunks = 512;

/// 64-bit sums of 64 rows: low and high words.
struct Sums {
  Words low = {Q6_V_vzero(), Q6_V_vzero()}, high = {Q6_V_vzero(), Q6_V_vzero()};
};

/// Σ code · x of consecutive chunks for 64 rows.
template <uint32_t Bits>
Words sum_codes(const Vector* codes, const Vector* tables, uint32_t chunks) {
  constexpr int32_t kPlanes01 = 0x02010201, kPlanes23 = 0x08040804;  // VMPA: what even and odd bytes count
  Pair first = Q6_W_vcombine_VV(Q6_V_vzero(), Q6_V_vzero()), second = first;
#pragma clang loop unroll(disable)
  for (uint32_t half = 0; half < 2 * chunks; ++half) {
    const Vector table = *tables++;
    if constexpr (Bits == 4) {
      for (int32_t quad = 0; quad < 4; ++quad) {
        const Vector nibbles = *codes++;
        first = Q6_Ww_vmpaacc_WwWhRb(first, look_up(nibbles, table, quad), kPlanes01);
        second = Q6_Ww_vmpaacc_WwWhRb(second, look_up(Q6_Vub_vlsr_VubR(nibbles, 4), table, quad), kPlanes23);
      }
    } else {
      for (int32_t quad = 0; quad < 4; quad += 2) {
        const Vector nibbles = *codes++;
        first = Q6_Ww_vmpaacc_WwWhRb(first, look_up(nibbles, table, quad), kPlanes01);
        second = Q6_Ww_vmpaacc_WwWhRb(second, look_up(Q6_Vub_vlsr_VubR(nibbles, 4), table, quad + 1), kPlanes01);
      }
    }
  }
  return {Q6_Vw_vadd_VwVw(low(first), low(second)), Q6_Vw_vadd_VwVw(high(first), high(second))};
}

/// sum += a · b, exactly.
void add_product(Vector& low_words, Vector& high_words, Vector a, Vector b) {
  const Pair product = Q6_W_vmpyoacc_WVwVh(Q6_W_vmpye_VwVuh(a, b), a, b);
  HVX_VectorPred carry = Q6_Q_vsetq_R(0);
  low_words = Q6_Vw_vadd_VwVwQ_carry(low_words, low(product), &carry);
  high_words = Q6_Vw_vadd_VwVwQ_carry(high_words, high(product), &carry);
}

void add_products(Sums& sums, const Words& a, const Words& b) {
  add_product(sums.low.even, sums.high.even, a.even, b.even);
  add_product(sums.low.odd, sums.high.odd, a.odd, b.odd);
}

int32_t sum_of(const int32_t* sums, uint32_t count) {
  int32_t sum = 0;
  for (uint32_t i = 0; i < count; ++i) sum += sums[i];
  return sum;
}

/// C - z · Σx without a zero point of its own.
Words centred(const Words& codes, int32_t x, uint32_t bits) {
  const Vector centre = splat(x * (1 << (bits - 1)));
  return {Q6_Vw_vsub_VwVw(codes.even, centre), Q6_Vw_vsub_VwVw(codes.odd, centre)};
}

/// Adds what a piece of a group contributes, `codes` being its Σ code · x.
using AddPiece = void (*)(Sums& sums, const Words& codes, int32_t x, uint32_t bits, const Vector* numbers);

/// With scales per group: (code - z) · x · d + m · x in units of 2^-24.
template <uint32_t Offset>
[[gnu::noinline]] void add_group(Sums& sums, const Words& codes, int32_t x, uint32_t bits, const Vector* numbers) {
  if constexpr (Offset == LUTRA_HVX_SYMMETRIC) return add_products(sums, centred(codes, x, bits), fixed_of(numbers[0]));
  if constexpr (Offset == LUTRA_HVX_ZERO_POINT) {
    const Pair zero = Q6_Wuw_vzxt_Vuh(numbers[1]);
    const Words rest = {Q6_Vw_vmpyieacc_VwVwVuh(codes.even, splat(-x), low(zero)), Q6_Vw_vmpyieacc_VwVwVuh(codes.odd, splat(-x), high(zero))};
    return add_products(sums, rest, fixed_of(numbers[0]));
  }
  add_products(sums, codes, fixed_of(numbers[0]));
  add_products(sums, {splat(x), splat(x)}, fixed_of(numbers[1]));
}

/// With a scale per row: (code - z) · x, of zero points and minima nothing yet.
template <uint32_t Offset>
void add_row(Sums& sums, const Words& codes, int32_t x, uint32_t bits, const Vector*) {
  add_products(sums, Offset == LUTRA_HVX_SYMMETRIC ? centred(codes, x, bits) : codes, {splat(1), splat(1)});
}

AddPiece add_piece_of(const Geometry& geometry) {
  static constexpr AddPiece kGroup[] = {add_group<LUTRA_HVX_SYMMETRIC>, add_group<LUTRA_HVX_MINIMUM>, add_group<LUTRA_HVX_ZERO_POINT>};
  static constexpr AddPiece kRow[] = {add_row<LUTRA_HVX_SYMMETRIC>, add_row<LUTRA_HVX_MINIMUM>, add_row<LUTRA_HVX_ZERO_POINT>};
  return (geometry.per_row ? kRow : kGroup)[geometry.offset];
}

/// The 64-bit sums of 64 rows in memory.
struct Stored {
  alignas(kVectorBytes) uint32_t words[4][32];
  explicit Stored(const Sums& sums) {
    auto* to = reinterpret_cast<Vector*>(words);
    to[0] = sums.low.even;
    to[1] = sums.high.even;
    to[2] = sums.low.odd;
    to[3] = sums.high.odd;
  }
  int64_t row(uint32_t r) const {
    const uint32_t at = r % 2 * 2;
    return static_cast<int64_t>(static_cast<uint64_t>(words[at + 1][r / 2]) << 32 | words[at][r / 2]);
  }
};

struct Activations {
  const Vector* tables;
  const int32_t* sums;
  float step;
};

/// With one scale per row: `numbers` are 64 F32 scales, then 64 F32 minima or S32 zero points.
float row_output(const Geometry& geometry, int64_t sum, int64_t x, const uint8_t* numbers, uint32_t row, float step) {
  float d, m;
  int32_t z;
  __builtin_memcpy(&d, numbers + 4 * row, 4);
  if (geometry.offset == LUTRA_HVX_SYMMETRIC) return d * static_cast<float>(sum) * step;
  __builtin_memcpy(&z, numbers + geometry.number_bytes() + 4 * row, 4);
  if (geometry.offset == LUTRA_HVX_ZERO_POINT) return d * static_cast<float>(sum - z * x) * step;
  __builtin_memcpy(&m, numbers + geometry.number_bytes() + 4 * row, 4);
  return __builtin_fmaf(d, static_cast<float>(sum), m * static_cast<float>(x)) * step;
}

template <uint32_t Bits>
void tile_product(const Geometry& geometry, const uint8_t* tile, const Activations& activations, uint32_t rows, float* y) {
  const AddPiece add_piece = add_piece_of(geometry);
  Sums sums;
  int64_t x = 0;
  for (uint32_t begin = 0; begin < geometry.chunks; begin += geometry.group_chunks) {
    const uint32_t left = geometry.chunks - begin, end = begin + (left < geometry.group_chunks ? left : geometry.group_chunks);
    const uint8_t* numbers = tile + (end - begin) * geometry.chunk_bytes();
    for (uint32_t at = begin; at < end;) {
      const uint32_t count = end - at < kPieceChunks ? end - at : kPieceChunks;
      const int32_t piece = sum_of(activations.sums + at, count);
      const Words codes = sum_codes<Bits>(reinterpret_cast<const Vector*>(tile), activations.tables + 2 * at, count);
      add_piece(sums, codes, piece, Bits, reinterpret_cast<const Vector*>(numbers));
      x += piece;
      at += count;
      tile += count * geometry.chunk_bytes();
    }
    tile = numbers + geometry.numbers_bytes();
  }
  const Stored stored(sums);
  const uint8_t* row_numbers = tile - geometry.numbers_bytes();
  for (uint32_t row = 0; row < rows; ++row) {
    y[row] = geometry.per_row ? row_output(geometry, stored.row(row), x, row_numbers, row, activations.step) : static_cast<float>(stored.row(row)) * (activations.step * kFixedStep);
  }
}

}  // namespace
}  // namespace lutra::hvx

using namespace lutra::hvx;

lutra_hvx_status lutra_hvx_gemv(const lutra_hvx_weight* weight, const void* packed, size_t packed_size, const void* prepared, size_t prepared_size, uint32_t tile_begin, uint32_t tile_end, float* y,
                                size_t y_count) {
  if (const lutra_hvx_status status = check_weight(weight); status != LUTRA_HVX_OK) return status;
  const Geometry geometry = Geometry::of(*weight);
  const PreparedLayout layout = PreparedLayout::of(weight->columns);
  if (const lutra_hvx_status status = check_tiles(geometry, tile_begin, tile_end); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(packed, packed_size, size_t{geometry.tiles} * geometry.tile_bytes()); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(prepared, prepared_size, layout.size); status != LUTRA_HVX_OK) return status;
  if (const lutra_hvx_status status = check_buffer(y, y_count, rows_of(*weight, tile_begin, tile_end), alignof(float)); status != LUTRA_HVX_OK) return status;
  const auto* blob = static_cast<const uint8_t*>(prepared);
  PreparedHeader header;
  __builtin_memcpy(&header, blob, sizeof header);
  if (header.magic != kPreparedMagic || header.columns != weight->columns) return LUTRA_HVX_BAD_ACTIVATIONS;

  const Activations activations = {reinterpret_cast<const Vector*>(blob + layout.tables), reinterpret_cast<const int32_t*>(blob + layout.sums), header.step};
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    const uint8_t* data = static_cast<const uint8_t*>(packed) + size_t{tile} * geometry.tile_bytes();
    const auto run = geometry.bits == 4 ? tile_product<4> : tile_product<2>;
    run(geometry, data, activations, rows_of(*weight, tile, tile + 1), y + (tile - tile_begin) * kTileRows);
  }
  return LUTRA_HVX_OK;
}
