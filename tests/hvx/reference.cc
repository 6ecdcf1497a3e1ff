#include "reference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/f16.h"

namespace lutra::hvx {
namespace {

/// Activations as integers of 2^-shift: |x| of the largest four in a row come to 32,765 at most.
struct Integers {
  std::vector<int64_t> x;
  int shift = 0;
  bool finite = true;
};

Integers integers_of(const std::vector<float>& x) {
  Integers result;
  float largest = 0.0f;
  for (size_t at = 0; at < x.size(); at += 4) {
    float sum = 0.0f;
    for (size_t i = at; i < std::min(at + 4, x.size()); ++i) sum += std::fabs(x[i]);
    if (!std::isfinite(sum)) result.finite = false;
    largest = std::max(largest, sum);
  }
  if (!result.finite) return result;
  result.shift = 100;
  while (std::ldexp(static_cast<double>(largest), result.shift) > 32765.0) --result.shift;
  for (const float value : x) result.x.push_back(static_cast<int64_t>(std::nearbyint(std::ldexp(static_cast<double>(value), result.shift))));
  return result;
}

/// Sums of a row: Σ (code − zero) · x · d + m · x in units of 2^-24, all of it without the scales, and Σ x.
struct RowSums {
  int64_t scaled = 0, plain = 0, x = 0;
};

RowSums sums_of(const Codes& weight, const Integers& integers, uint32_t row) {
  RowSums sums;
  const bool per_row = weight.format.group == 0;
  for (uint32_t column = 0; column < weight.columns; ++column) {
    const int64_t code = weight.code(row, column) - weight.zero(row, column), x = integers.x[column];
    sums.plain += code * x;
    sums.x += x;
    if (per_row) continue;
    const size_t number = weight.number(row, column);
    sums.scaled += code * x * static_cast<int64_t>(std::ldexp(weight.scales[number], 24));
    if (weight.format.offset == kernels::Offset::kMinimum) sums.scaled += x * static_cast<int64_t>(std::ldexp(weight.offsets[number], 24));
  }
  return sums;
}

}  // namespace

int32_t Codes::zero(uint32_t row, uint32_t column) const {
  switch (format.offset) {
    case kernels::Offset::kNone: return 1 << (format.bits - 1);
    case kernels::Offset::kMinimum: return 0;
    case kernels::Offset::kZero: return static_cast<int32_t>(offsets[number(row, column)]);
  }
  return 0;
}

std::vector<float> gemv_reference(const Codes& weight, const std::vector<float>& x) {
  const Integers integers = integers_of(x);
  if (!integers.finite) return std::vector<float>(weight.rows, std::numeric_limits<float>::quiet_NaN());
  std::vector<float> y;
  for (uint32_t row = 0; row < weight.rows; ++row) {
    const RowSums sums = sums_of(weight, integers, row);
    if (weight.format.group != 0) {
      y.push_back(static_cast<float>(sums.scaled) * std::ldexp(1.0f, -24 - integers.shift));
      continue;
    }
    const float d = weight.scales[row], step = std::ldexp(1.0f, -integers.shift);
    if (weight.format.offset == kernels::Offset::kMinimum) y.push_back(std::fma(d, static_cast<float>(sums.plain), weight.offsets[row] * static_cast<float>(sums.x)) * step);
    else y.push_back(d * static_cast<float>(sums.plain) * step);
  }
  return y;
}

std::vector<double> gemv_exact(const Codes& weight, const std::vector<float>& x) {
  std::vector<double> y(weight.rows);
  for (uint32_t row = 0; row < weight.rows; ++row) {
    for (uint32_t column = 0; column < weight.columns; ++column) {
      const size_t number = weight.number(row, column);
      const double value = double{weight.scales[number]} * (weight.code(row, column) - weight.zero(row, column)) + (weight.format.offset == kernels::Offset::kMinimum ? weight.offsets[number] : 0.0f);
      y[row] += value * double{x[column]};
    }
  }
  return y;
}

uint16_t value_reference(const Codes& weight, uint32_t row, uint32_t column) {
  const size_t number = weight.number(row, column);
  const float d = weight.scales[number], m = weight.format.offset == kernels::Offset::kMinimum ? weight.offsets[number] : 0.0f;
  const int32_t code = weight.code(row, column) - weight.zero(row, column);
  if (weight.format.group == 0) return f32_to_f16(std::fma(static_cast<float>(code), d, m) + 0.0f);
  const double exact = double{d} * code + m;  // 45 bits at most
  if (exact == 0.0) return 0;
  const double step = std::ldexp(1.0, std::max(std::ilogb(exact) - 10, -24));
  return f32_to_f16(static_cast<float>(std::nearbyint(exact / step) * step));
}

std::vector<uint8_t> pack_reference(const Codes& weight) {
  constexpr uint32_t kRows = 64;
  const uint32_t bits = weight.format.bits, chunks = (weight.columns + 31) / 32, per_group = weight.format.group == 0 ? chunks : weight.format.group / 32;
  const bool has_offset = weight.format.offset != kernels::Offset::kNone, per_row = weight.format.group == 0;
  std::vector<uint8_t> out;
  for (uint32_t tile = 0; tile * kRows < weight.rows; ++tile) {
    for (uint32_t begin = 0; begin < chunks; begin += per_group) {
      const uint32_t columns = 32 * (std::min(chunks, begin + per_group) - begin);
      const size_t start = out.size(), number_bytes = kRows * (per_row ? 4 : 2);
      out.resize(start + columns * kRows * bits / 8 + number_bytes * (has_offset ? 2 : 1));
      uint8_t* numbers = out.data() + start + columns * kRows * bits / 8;
      for (uint32_t r = 0; r < kRows && tile * kRows + r < weight.rows; ++r) {
        const uint32_t row = tile * kRows + r;
        for (uint32_t c = 0; c < columns && begin * 32 + c < weight.columns; ++c) {
          for (uint32_t plane = 0; plane < bits; ++plane) {
            if ((weight.code(row, begin * 32 + c) >> plane & 1) == 0) continue;
            const uint32_t quad = c / 4, vector = bits == 4 ? quad : quad / 2, shift = bits == 4 ? plane / 2 : quad % 2;
            out[start + 128 * vector + 2 * r + plane % 2] |= static_cast<uint8_t>(1 << (4 * shift + c % 4));
          }
        }
        const size_t number = weight.number(row, begin * 32);
        const auto put = [&](uint8_t* to, float value, bool integer) {
          const int32_t z = static_cast<int32_t>(value);
          const uint16_t half = integer ? static_cast<uint16_t>(z) : f32_to_f16(value);
          if (!per_row) std::memcpy(to + 2 * r, &half, 2);
          else if (integer) std::memcpy(to + 4 * r, &z, 4);
          else std::memcpy(to + 4 * r, &value, 4);
        };
        put(numbers, weight.scales[number], false);
        if (has_offset) put(numbers + number_bytes, weight.offsets[number], weight.format.offset == kernels::Offset::kZero);
      }
    }
  }
  return out;
}

}  // namespace lutra::hvx
