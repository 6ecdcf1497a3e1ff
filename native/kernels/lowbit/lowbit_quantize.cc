// From floats to low-bit codes: the scale, and the minimum, that lose least, with columns weighted by how much they matter.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

/// Values of one group with their weights in the error, and the weighted sums of 1, w and w² over it.
struct Group {
  const float* w;
  const float* importance;  // NULL: all 1
  uint32_t count;
  double n = 0, sum = 0, squares = 0;

  Group(const float* values, const float* weights, uint32_t size) noexcept : w(values), importance(weights), count(size) {
    for (uint32_t i = 0; i < count; ++i) {
      const double value = static_cast<double>(w[i]);
      n += weight(i);
      sum += weight(i) * value;
      squares += weight(i) * value * value;
    }
  }

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

/// Weighted sums over a group: of code, code² and code · w.
struct Sums {
  double c = 0, cc = 0, cw = 0;

  /// Σ weight · (w − step · code − base)².
  double error(const Group& group, const Line& line) const noexcept {
    const double s = static_cast<double>(line.step), b = static_cast<double>(line.base);
    return group.squares - 2 * s * cw - 2 * b * group.sum + s * s * cc + 2 * s * b * c + b * b * group.n;
  }
};

/// With the codes that are nearest on `line`.
Sums sums_of(const Group& group, const Line& line, uint32_t top) noexcept {
  const float step = inverse(line.step), most = static_cast<float>(top);
  Sums sums;
  for (uint32_t i = 0; i < group.count; ++i) {
    const double code = static_cast<double>(nearest_code(step, line.base, most, group.w[i])), weighted = group.weight(i) * code;
    sums.c += weighted;
    sums.cc += weighted * code;
    sums.cw += weighted * static_cast<double>(group.w[i]);
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
Line fitted(const LowBitFormat& format, const Group& group, const Sums& sums, const Line& from, uint32_t top) noexcept {
  if (format.offset != Offset::kMinimum) {
    const double centre = from.step == 0.0f ? 0.0 : static_cast<double>(from.base) / static_cast<double>(from.step);
    const double squares = sums.cc + 2 * centre * sums.c + centre * centre * group.n;
    const double step = squares > 0 ? (sums.cw + centre * group.sum) / squares : 0;
    return stored(format, static_cast<float>(step), static_cast<float>(step * centre), top);
  }
  const double determinant = group.n * sums.cc - sums.c * sums.c;
  if (!(determinant > 1e-12 * group.n * sums.cc)) return from;
  return stored(format, static_cast<float>((group.n * sums.cw - sums.c * group.sum) / determinant), static_cast<float>((sums.cc * group.sum - sums.c * sums.cw) / determinant), top);
}

/// A line, and what is lost with the codes that are nearest on it, or at most that.
struct Candidate {
  Line line;
  double error = std::numeric_limits<double>::infinity();
};

/// The best few of many candidates, in order.
class Shortlist {
 public:
  void offer(Candidate candidate) noexcept {
    for (Candidate& kept : best_) {
      if (candidate.error < kept.error) std::swap(candidate, kept);
    }
  }
  const std::array<Candidate, 3>& best() const noexcept { return best_; }

 private:
  std::array<Candidate, 3> best_;
};

/// `line` with the codes that are nearest on it, then fitted to them.
Candidate fitted_candidate(const LowBitFormat& format, const Group& group, const Line& line, uint32_t top) noexcept {
  const Sums sums = sums_of(group, line, top);
  const Line better = fitted(format, group, sums, line, top);
  const double before = sums.error(group, line), after = sums.error(group, better);
  return after < before ? Candidate{better, after} : Candidate{line, before};
}

/// The whole range and narrower ones, cut at either end, each fitted once.
Shortlist ranges(const LowBitFormat& format, const Group& group, uint32_t top) noexcept {
  constexpr uint32_t kSymmetric = 10, kCuts = 5;
  const auto [low, high] = std::minmax_element(group.w, group.w + group.count);
  const float most = static_cast<float>(top);
  Shortlist list;
  if (format.offset == Offset::kNone) {
    const float bound = std::max(std::abs(*low), std::abs(*high));
    for (uint32_t i = 0; i < kSymmetric; ++i) {
      const float step = 2 * bound * (1.0f - 0.08f * static_cast<float>(i)) / most;
      // One side has one more code.
      for (const float sign : {1.0f, -1.0f}) list.offer(fitted_candidate(format, group, stored(format, sign * step, 0, top), top));
    }
    return list;
  }
  const float range = *high - *low;
  for (uint32_t i = 0; i < kCuts; ++i) {
    for (uint32_t j = 0; j < kCuts; ++j) {
      const float below = 0.1f * static_cast<float>(i), above = 0.1f * static_cast<float>(j);
      list.offer(fitted_candidate(format, group, stored(format, range * (1.0f - below - above) / most, *low + range * below, top), top));
    }
  }
  return list;
}

/// The line that loses least of those that the best ranges lead to when codes and line follow one another.
Line best_line(const LowBitFormat& format, const Group& group) noexcept {
  constexpr uint32_t kRounds = 6;
  const uint32_t top = (1u << format.bits) - 1;
  const Shortlist promising = ranges(format, group, top);
  Candidate best;
  for (Candidate candidate : promising.best()) {
    for (uint32_t round = 0; round < kRounds; ++round) {
      const Candidate next = fitted_candidate(format, group, candidate.line, top);
      if (!(next.error < candidate.error)) break;
      candidate = next;
    }
    if (candidate.error < best.error) best = candidate;
  }
  return best.line;
}

}  // namespace

void quantize_low_bit(const LowBitFormat& format, const float* w, const float* importance, uint32_t rows, uint32_t cols, LowBitCodes out) noexcept {
  const uint32_t group_cols = format.group == 0 ? cols : format.group, groups = (cols + group_cols - 1) / group_cols, top = (1u << format.bits) - 1;
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t g = 0; g < groups; ++g) {
      const uint32_t first = g * group_cols;
      const Group group(w + size_t{r} * cols + first, importance == nullptr ? nullptr : importance + first, std::min(group_cols, cols - first));
      const Line line = best_line(format, group);
      for (uint32_t i = 0; i < group.count; ++i) out.codes[size_t{r} * cols + first + i] = static_cast<uint8_t>(nearest_code(inverse(line.step), line.base, static_cast<float>(top), group.w[i]));
      const float d = format.offset == Offset::kNone ? line.step / static_cast<float>(Symmetric::of(format.bits).k) : line.step;
      out.scales[size_t{r} * groups + g] = d;
      if (format.offset != Offset::kNone) out.offsets[size_t{r} * groups + g] = format.offset == Offset::kMinimum ? line.base : d == 0.0f ? 0.0f : -line.base / d;
    }
  }
}

}  // namespace lutra::kernels
