// From floats to low-bit codes: the scale, and the minimum, that lose least, with columns weighted by how much they matter.
#include <algorithm>
#include <cmath>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

/// Values of one group with their weights in the error.
struct Group {
  const float* w;
  const float* importance;  // NULL: all 1
  uint32_t count;

  double weight(uint32_t i) const noexcept { return importance == nullptr ? 1.0 : static_cast<double>(importance[i]); }
};

/// value = step · code + base; what the format stores is made of them.
struct Line {
  float step = 0, base = 0;
};

inline float round_even(float v) noexcept {
  constexpr float kMagic = 0x1.8p23f;
  return (v + kMagic) - kMagic;
}

inline float nearest_code(float inverse_step, float base, float top, float w) noexcept {
  const float code = (w - base) * inverse_step;
  return round_even(code < 0.0f ? 0.0f : code > top ? top : code);
}

inline float inverse(float step) noexcept { return step == 0.0f ? 0.0f : 1.0f / step; }

/// Weighted sums over a group: of 1, code, code², w, code · w, w².
struct Sums {
  double n = 0, c = 0, cc = 0, w = 0, cw = 0, ww = 0;

  /// Σ weight · (w − step · code − base)².
  double error(const Line& line) const noexcept {
    const double s = static_cast<double>(line.step), b = static_cast<double>(line.base);
    return ww - 2 * s * cw - 2 * b * w + s * s * cc + 2 * s * b * c + b * b * n;
  }
};

/// With the codes that are nearest on `line`.
Sums sums_of(const Group& group, const Line& line, uint32_t top) noexcept {
  const float step = inverse(line.step), most = static_cast<float>(top);
  Sums sums;
  for (uint32_t i = 0; i < group.count; ++i) {
    const double weight = group.weight(i), code = static_cast<double>(nearest_code(step, line.base, most, group.w[i])), value = static_cast<double>(group.w[i]);
    sums.n += weight;
    sums.c += weight * code;
    sums.cc += weight * code * code;
    sums.w += weight * value;
    sums.cw += weight * code * value;
    sums.ww += weight * value * value;
  }
  return sums;
}

float rounded(const LowBitFormat& format, float v) noexcept { return format.group == 0 ? v : f16_to_f32(f32_to_f16(v)); }

/// The line as it will be stored: with numbers rounded, and tied to the zero point where the format has no minimum.
Line stored(const LowBitFormat& format, float step, float base, uint32_t top) noexcept {
  const float d = rounded(format, format.offset == Offset::kNone ? step / static_cast<float>(Symmetric::of(format.bits).k) : step);
  switch (format.offset) {
    case Offset::kMinimum: return {d, rounded(format, base)};
    case Offset::kZero: {
      const float zero = d == 0.0f ? 0.0f : std::clamp(std::nearbyint(-base / d), 0.0f, static_cast<float>(top));
      return {d, -zero * d};
    }
    case Offset::kNone: break;
  }
  const Symmetric s = Symmetric::of(format.bits);
  return {static_cast<float>(s.k) * d, -static_cast<float>(s.z) * d};
}

/// Least squares of w over codes: step and base, or step alone where base is bound to it.
Line fitted(const LowBitFormat& format, const Sums& sums, const Line& from, uint32_t top) noexcept {
  if (format.offset != Offset::kMinimum) {
    const double centre = from.step == 0.0f ? 0.0 : static_cast<double>(from.base) / static_cast<double>(from.step);
    const double squares = sums.cc + 2 * centre * sums.c + centre * centre * sums.n;
    const double step = squares > 0 ? (sums.cw + centre * sums.w) / squares : 0;
    return stored(format, static_cast<float>(step), static_cast<float>(step * centre), top);
  }
  const double determinant = sums.n * sums.cc - sums.c * sums.c;
  if (!(determinant > 1e-12 * sums.n * sums.cc)) return from;
  return stored(format, static_cast<float>((sums.n * sums.cw - sums.c * sums.w) / determinant), static_cast<float>((sums.cc * sums.w - sums.c * sums.cw) / determinant), top);
}

/// Tries the whole range and narrower ones, each improved by least squares, and keeps the one with the least error.
Line best_line(const LowBitFormat& format, const Group& group) noexcept {
  constexpr uint32_t kTries = 10;
  const uint32_t top = (1u << format.bits) - 1;
  const auto [low, high] = std::minmax_element(group.w, group.w + group.count);
  const bool symmetric = format.offset == Offset::kNone;
  const float bound = std::max(std::abs(*low), std::abs(*high));
  Line best = stored(format, 0.0f, *low, top);
  double least = sums_of(group, best, top).error(best);
  for (uint32_t i = 0; i < kTries; ++i) {
    const float shrink = 1.0f - 0.08f * static_cast<float>(i);
    const float sign = symmetric && i % 2 == 1 ? -1.0f : 1.0f;  // the side with one more code
    Line line = symmetric ? stored(format, sign * 2 * bound * shrink / static_cast<float>(top), 0, top)
                          : stored(format, (*high - *low) * shrink / static_cast<float>(top), *low + (*high - *low) * (1 - shrink) / 2, top);
    for (uint32_t round = 0; round < 2; ++round) {
      const Sums sums = sums_of(group, line, top);
      // The fit has the codes of the line before it; nearer ones can only lower its error.
      for (const Line& candidate : {line, fitted(format, sums, line, top)}) {
        const double error = sums.error(candidate);
        if (error < least) {
          least = error;
          best = candidate;
        }
        line = candidate;
      }
    }
  }
  return best;
}

}  // namespace

void quantize_low_bit(const LowBitFormat& format, const float* w, const float* importance, uint32_t rows, uint32_t cols, LowBitCodes out) noexcept {
  const uint32_t group_cols = format.group == 0 ? cols : format.group, groups = (cols + group_cols - 1) / group_cols, top = (1u << format.bits) - 1;
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t first = g * group_cols;
      const Group group = {w + size_t{r} * cols + first, importance == nullptr ? nullptr : importance + first, std::min(group_cols, cols - first)};
      const Line line = best_line(format, group);
      for (uint32_t i = 0; i < group.count; ++i) out.codes[size_t{r} * cols + first + i] = static_cast<uint8_t>(nearest_code(inverse(line.step), line.base, static_cast<float>(top), group.w[i]));
      const float d = format.offset == Offset::kNone ? line.step / static_cast<float>(Symmetric::of(format.bits).k) : line.step;
      out.scales[size_t{r} * groups + g] = d;
      if (format.offset != Offset::kNone) out.offsets[size_t{r} * groups + g] = format.offset == Offset::kMinimum ? line.base : d == 0.0f ? 0.0f : -line.base / d;
    }
  }
}

}  // namespace lutra::kernels
