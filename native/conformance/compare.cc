#include "conformance/compare.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <vector>

namespace lutra::conformance {
namespace {

std::vector<double> reals(const Tensor& tensor, std::span<const std::byte> bytes) {
  std::vector<double> out(tensor.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = real(tensor, bytes, i);
  return out;
}

/// Keeps the elements of both whose magnitude in `want` is not far beyond the usual.
void drop_outliers(std::vector<double>& want, std::vector<double>& got) {
  std::vector<double> magnitudes(want.size());
  std::transform(want.begin(), want.end(), magnitudes.begin(), [](double v) { return std::abs(v); });
  const auto middle = magnitudes.begin() + static_cast<std::ptrdiff_t>(magnitudes.size() / 2);
  std::nth_element(magnitudes.begin(), middle, magnitudes.end());
  const double limit = 100 * *middle;
  size_t kept = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::abs(want[i]) > limit) continue;
    want[kept] = want[i];
    got[kept++] = got[i];
  }
  want.resize(kept);
  got.resize(kept);
}

Figures compare(const Tensor& reference, std::span<const std::byte> a, std::span<const std::byte> b, std::vector<double> want, bool without_outliers) {
  Figures figures;
  size_t equal = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double distance = std::abs(stored(reference.dtype, a, i) - stored(reference.dtype, b, i));
    equal += distance == 0;
    figures.steps = std::max(figures.steps, is_float(reference.dtype) ? static_cast<double>(distance != 0) : distance);
  }
  figures.equal = static_cast<double>(equal) / static_cast<double>(reference.size());
  figures.nmse = without_outliers ? nmse_without_outliers(std::move(want), reals(reference, a)) : nmse(want, reals(reference, a));
  return figures;
}

std::string text(const char* format, double first, double second = 0) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, format, first, second);
  return buffer;
}

}  // namespace

double nmse(std::span<const double> want, std::span<const double> got) {
  double error = 0, power = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (want[i] - got[i]) * (want[i] - got[i]);
    power += want[i] * want[i];
  }
  return error == 0 ? 0 : error / power;
}

double nmse_without_outliers(std::vector<double> want, std::vector<double> got) {
  drop_outliers(want, got);
  return nmse(want, got);
}

Figures against_reference(const Tensor& reference, std::span<const std::byte> got, bool without_outliers) {
  return compare(reference, got, reference.bytes, reference.exact, without_outliers);
}

Figures between(const Tensor& reference, std::span<const std::byte> a, std::span<const std::byte> b, bool without_outliers) {
  return compare(reference, a, b, reals(reference, b), without_outliers);
}

std::optional<std::string> violation(Bound bound, const Figures& figures) {
  double steps = 0, equal = 0, error = INFINITY;
  switch (bound) {
    case Bound::kLinear8: steps = 1, equal = 0.95; break;
    case Bound::kLinear8Old: steps = 1, equal = 0.9; break;
    case Bound::kOther8: steps = 1, equal = 0.5; break;
    case Bound::kLinear16: steps = 2; break;
    case Bound::kOther16: steps = 1, equal = 0.5; break;
    case Bound::kSteps5: steps = 5; break;
    case Bound::kSteps18: steps = 18; break;
    case Bound::kSteps34: steps = 34; break;
    case Bound::kTable16: steps = INFINITY, error = 5e-7; break;
    case Bound::kTable16Loose: steps = INFINITY, error = 1e-5; break;
    case Bound::kFloat: steps = 1, error = 1e-6; break;
    case Bound::kFloat5: steps = 1, error = 1e-5; break;
    case Bound::kExact: equal = 1; break;
  }
  // Written so that a NaN is out of bounds.
  if (figures.steps <= steps && figures.equal >= equal && figures.nmse <= error) return std::nullopt;
  return std::string(bound_name(bound)) + ": " + text("%.0f steps, %.2f %% equal, ", figures.steps, 100 * figures.equal) + text("NMSE %.2g", figures.nmse);
}

const char* bound_name(Bound bound) {
  switch (bound) {
    case Bound::kLinear8: return "<= 1 step, >= 95 % equal";
    case Bound::kLinear8Old: return "<= 1 step, >= 90 % equal";
    case Bound::kOther8: return "<= 1 step, >= 50 % equal";
    case Bound::kLinear16: return "<= 2 steps";
    case Bound::kOther16: return "<= 1 step, >= 50 % equal";
    case Bound::kSteps5: return "<= 5 steps";
    case Bound::kSteps18: return "<= 18 steps";
    case Bound::kSteps34: return "<= 34 steps";
    case Bound::kTable16: return "NMSE <= 5e-7";
    case Bound::kTable16Loose: return "NMSE <= 1e-5";
    case Bound::kFloat: return "NMSE <= 1e-6";
    case Bound::kFloat5: return "NMSE <= 1e-5";
    case Bound::kExact: return "exact";
  }
  return "";
}

std::string describe(Bound bound, const Figures& figures) {
  switch (bound) {
    case Bound::kTable16:
    case Bound::kTable16Loose:
    case Bound::kFloat:
    case Bound::kFloat5: return text("NMSE %.1e", figures.nmse);
    case Bound::kExact: return text("%.4g %% equal", 100 * figures.equal);
    default: return text("%.0f step, %.2f %% equal", figures.steps, 100 * figures.equal);
  }
}

}  // namespace lutra::conformance
