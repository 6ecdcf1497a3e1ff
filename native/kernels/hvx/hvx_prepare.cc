// Activations -> tables. x is rounded once, to integers of 16 bits; entries are exact sums of these.
#include "kernels/hvx/hvx_layout.h"
#include "kernels/hvx/hvx_vectors.h"

namespace lutra::hvx {
namespace {

// Four integers are rounded up by half each at most, and their sum in floats is short by less than 0.01: magnitudes add up to 32,767 at most, and every sum of some of them fits 16 bits.
constexpr float kMostOfQuad = 32765.0f;
constexpr int32_t kMostShift = 100;  // so that the step stays a normal number

/// The largest |x0| + |x1| + |x2| + |x3|, infinite when anything is not finite.
float largest_quad(const float* x, uint32_t columns) {
  float largest = 0.0f;
  for (uint32_t col = 0; col < columns; col += 4) {
    float sum = 0.0f;
    for (uint32_t j = 0; j < 4 && col + j < columns; ++j) sum += __builtin_fabsf(x[col + j]);
    if (!(sum <= __FLT_MAX__)) return __builtin_inff();
    if (sum > largest) largest = sum;
  }
  return largest;
}

/// The largest k with 2^k · largest at most kMostOfQuad.
int32_t shift_for(float largest) {
  const int32_t exponent = static_cast<int32_t>(__builtin_bit_cast(uint32_t, largest) >> 23) - 127;  // -127 for 0 and what is below normal numbers
  if (14 - exponent > kMostShift) return kMostShift;
  const int32_t shift = 14 - exponent;
  return largest * power_of_two(shift) <= kMostOfQuad ? shift : shift - 1;
}

/// To the nearest integer, ties to even; |v| < 2^22.
int32_t round_even(float v) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2^23
  return static_cast<int32_t>(__builtin_bit_cast(uint32_t, v + kMagic) - __builtin_bit_cast(uint32_t, kMagic));
}

/// The tables of four quads: entry e is the sum of the x_j whose bit j is set in e.
Vector tables_of(const int32_t* x) {
  alignas(kVectorBytes) static constexpr struct Entries {
    uint32_t bits[32];
    constexpr Entries() : bits{} {
      for (uint32_t i = 0; i < 32; ++i) bits[i] = i % 16;
    }
  } kEntries;
  const Vector entries = *reinterpret_cast<const Vector*>(kEntries.bits);
  const HVX_VectorPred first = Q6_Q_vsetq_R(64);
  Vector sum = Q6_V_vzero();
  for (uint32_t j = 0; j < 4; ++j) {
    const auto halves = [&](uint32_t quad) { return static_cast<int32_t>((static_cast<uint32_t>(x[4 * quad + j]) & 0xffffu) | static_cast<uint32_t>(x[4 * (quad + 2) + j]) << 16); };
    const Vector both = Q6_V_vmux_QVV(first, splat(halves(0)), splat(halves(1)));
    const Vector set = Q6_Vw_vasr_VwR(Q6_Vw_vasl_VwR(entries, static_cast<int32_t>(31 - j)), 31);
    sum = Q6_Vh_vadd_VhVh(sum, Q6_V_vand_VV(both, set));
  }
  return sum;
}

}  // namespace
}  // namespace lutra::hvx

using namespace lutra::hvx;

lutra_hvx_status lutra_hvx_prepare(const float* x, uint32_t columns, void* prepared, size_t prepared_size) {
  if (columns == 0 || columns > LUTRA_HVX_MAX_COLUMNS) return LUTRA_HVX_BAD_SHAPE;
  if (!aligned(x, alignof(float))) return LUTRA_HVX_BAD_POINTER;
  const PreparedLayout layout = PreparedLayout::of(columns);
  if (const lutra_hvx_status status = check_buffer(prepared, prepared_size, layout.size); status != LUTRA_HVX_OK) return status;

  auto* out = static_cast<uint8_t*>(prepared);
  __builtin_memset(out, 0, kVectorBytes);
  __builtin_memset(out + layout.sums, 0, layout.size - layout.sums);
  const float largest = largest_quad(x, columns);
  const bool finite = largest <= __FLT_MAX__;
  const int32_t shift = finite ? shift_for(largest) : 0;
  const PreparedHeader header = {kPreparedMagic, columns, finite ? power_of_two(-shift) : __builtin_nanf("")};
  __builtin_memcpy(out, &header, sizeof header);

  const float scale = power_of_two(shift);
  auto* tables = reinterpret_cast<Vector*>(out + layout.tables);
  auto* sums = reinterpret_cast<int32_t*>(out + layout.sums);
  for (uint32_t chunk = 0; chunk < divide_up(columns, kChunkCols); ++chunk) {
    int32_t integers[kChunkCols] = {};
    int32_t sum = 0;
    for (uint32_t i = 0; finite && i < kChunkCols && chunk * kChunkCols + i < columns; ++i) {
      integers[i] = round_even(x[chunk * kChunkCols + i] * scale);
      sum += integers[i];
    }
    tables[2 * chunk] = tables_of(integers);
    tables[2 * chunk + 1] = tables_of(integers + 16);
    sums[chunk] = sum;
  }
  return LUTRA_HVX_OK;
}
