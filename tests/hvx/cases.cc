#include "cases.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/f16.h"

namespace lutra::hvx {
namespace {

using kernels::LowBitFormat;
using kernels::Offset;

uint32_t below(uint32_t limit, std::mt19937_64& random) { return static_cast<uint32_t>(random() % limit); }
float normal(std::mt19937_64& random) { return std::normal_distribution<float>()(random); }

/// A scale or minimum: usual, negative, either zero, subnormal in F16, of any magnitude that is taken.
float any_number(float usual, const LowBitFormat& format, std::mt19937_64& random) {
  float value = usual;
  switch (below(16, random)) {
    case 0: value = 0.0f; break;
    case 1: value = -usual; break;
    case 2: value = std::ldexp(static_cast<float>(below(1024, random)), -24); break;
    case 3: value = std::ldexp(normal(random), static_cast<int>(below(22, random)) - 16); break;
    case 4: value = f16_to_f32(static_cast<uint16_t>(below(0x5800, random) | below(2, random) << 15)); break;
    case 5: value = -0.0f; break;
    default: break;
  }
  if (format.group == 0) return value;
  return f16_to_f32(f32_to_f16(std::clamp(value, -127.9f, 127.9f)));
}

Codes random_weight(const LowBitFormat& format, uint32_t rows, uint32_t columns, std::mt19937_64& random) {
  Codes weight{format, rows, columns, {}, {}, {}};
  for (size_t i = 0; i < size_t{rows} * columns; ++i) weight.codes.push_back(static_cast<uint8_t>(below(1u << format.bits, random)));
  for (size_t i = 0; i < size_t{rows} * weight.groups(); ++i) {
    weight.scales.push_back(any_number(0.01f + 0.02f * std::fabs(normal(random)), format, random));
    if (format.offset == Offset::kMinimum) weight.offsets.push_back(any_number(-0.05f * std::fabs(normal(random)), format, random));
    if (format.offset == Offset::kZero) weight.offsets.push_back(static_cast<float>(below(17, random)));
    // So small beside the scale that it only decides where a code times the scale lies half-way.
    if (format.offset == Offset::kMinimum && below(16, random) == 0) {
      weight.scales.back() = std::ldexp(static_cast<float>(1024 + below(1024, random)), static_cast<int>(below(5, random)) - 8);
      weight.offsets.back() = std::ldexp(below(2, random) == 0 ? 1.0f : -1.0f, -24);
    }
  }
  return weight;
}

constexpr double kError = 1e-5, kErrorWithOutlier = 1e-4, kAnyError = std::numeric_limits<double>::infinity();

struct Activations {
  std::vector<float> x;
  double most_error;
};

Activations random_activations(uint32_t columns, std::mt19937_64& random) {
  Activations result{std::vector<float>(columns), kError};
  for (float& x : result.x) x = normal(random);
  const uint32_t at = below(columns, random);
  const auto scale_all = [&](float by) {
    for (float& x : result.x) x *= by;
  };
  switch (below(12, random)) {
    case 0: result.x[at] = 200.0f; result.most_error = kErrorWithOutlier; break;
    case 1: scale_all(0.0f); result.most_error = kAnyError; break;
    case 2: scale_all(std::ldexp(1.0f, -60 - static_cast<int>(below(90, random)))); result.most_error = kAnyError; break;
    case 3: scale_all(1e30f); break;
    case 4: result.x[at] = std::numeric_limits<float>::quiet_NaN(); result.most_error = kAnyError; break;
    case 5: result.x[at] = below(2, random) == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::max(); result.most_error = kAnyError; break;
    default: break;
  }
  return result;
}

Case random_case(Operation operation, uint8_t bits, std::mt19937_64& random) {
  const LowBitFormat format{bits, kernels::kGroups[below(4, random)], static_cast<Offset>(below(3, random))};
  const uint32_t rows = 1 + below(200, random), columns = 1 + below(below(4, random) == 0 ? 700 : 300, random);
  const uint32_t tiles = (rows + 63) / 64, begin = below(tiles, random), end = begin + 1 + below(tiles - begin, random);
  const uint32_t stride = (columns + 63) / 64 * 64 + 64 * below(3, random);
  Codes weight = random_weight(format, rows, columns, random);
  if (operation == kDequantize) return {operation, std::move(weight), {}, begin, end, stride, kAnyError};
  Activations activations = random_activations(columns, random);
  return {operation, std::move(weight), std::move(activations.x), begin, end, stride, activations.most_error};
}

/// Everything as large as it may be: the sums come closest to what 32 and 64 bits hold.
Case extreme_case(Operation operation, const LowBitFormat& format, float sign, std::mt19937_64& random) {
  constexpr uint32_t kRows = 2;
  Codes weight = random_weight(format, kRows, LUTRA_HVX_MAX_COLUMNS, random);
  std::fill(weight.codes.begin(), weight.codes.end(), static_cast<uint8_t>(format.offset == Offset::kZero ? 0 : (1 << format.bits) - 1));
  std::fill(weight.scales.begin(), weight.scales.end(), sign * 127.9375f);
  std::fill(weight.offsets.begin(), weight.offsets.end(), format.offset == Offset::kZero ? 16.0f : sign * 127.9375f);
  // Four of them are 32,764 steps.
  std::vector<float> x(operation == kDequantize ? 0 : LUTRA_HVX_MAX_COLUMNS, 8191.0f);
  return {operation, std::move(weight), std::move(x), 0, 1, LUTRA_HVX_MAX_COLUMNS, kError};
}

}  // namespace

lutra_hvx_weight Case::shape() const {
  return {weight.format.bits, weight.format.group, static_cast<uint32_t>(weight.format.offset), weight.rows, weight.columns};
}

std::vector<Case> cases_of(Operation operation, uint8_t bits, uint32_t count, std::mt19937_64& random) {
  std::vector<Case> cases;
  for (uint32_t i = 0; i < count; ++i) cases.push_back(random_case(operation, bits, random));
  for (const Offset offset : {Offset::kNone, Offset::kMinimum, Offset::kZero}) {
    for (const uint32_t group : {0u, 128u}) {
      for (const float sign : {1.0f, -1.0f}) cases.push_back(extreme_case(operation, {bits, group, offset}, sign, random));
    }
  }
  return cases;
}

}  // namespace lutra::hvx
