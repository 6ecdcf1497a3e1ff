// How right is right: the bounds of a case and the figures that are held against them.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "conformance/tensor.h"

namespace lutra::conformance {

/// Classes of ops by how close two right implementations are.
enum class Bound {
  kLinear8,   // 8-bit linears: at most 1 step, 95 % equal
  kLinear8Old,  // the same on DSPs before v73: 90 %
  kOther8,    // every other op with an 8-bit result: at most 1 step, half of them equal
  kLinear16,  // 16-bit linears with 8-bit weights: at most 2 steps
  kOther16,   // Quantize and Convert to 16 bits: at most 1 step, half of them equal
  kSteps5,    // 16-bit results of functions that are tables: at most 5, 18, 34 steps
  kSteps18,
  kSteps34,
  kTable16,   // other 16-bit functions, and 16 bits by 4-bit or 16-bit weights: NMSE at most 5e-7
  kTable16Loose,  // the same on DSPs before v73, and 16 bits by 2-bit weights: 1e-5
  kFloat,     // float results: NMSE at most 1e-6
  kFloat5,    // NMSE at most 1e-5
  kExact,     // data movement, and conversions that lose nothing
};

/// What two results of one tensor differ by.
struct Figures {
  double steps = 0;  // largest distance of stored integers; of float results 0 (equal) or 1
  double equal = 0;  // share of equal elements
  double nmse = 0;   // mean squared error of the reals over their mean square
};

/// `got` against the reference: its rounded integers, or, for float types, its unrounded reals. With `without_outliers` elements above 100 times the median
/// magnitude do not count in `nmse`, which would see nothing else.
Figures against_reference(const Tensor& reference, std::span<const std::byte> got, bool without_outliers);

/// Two results of the tensor that `reference` describes, the second one as reference.
Figures between(const Tensor& reference, std::span<const std::byte> a, std::span<const std::byte> b, bool without_outliers);

/// Nothing, or what is out of bounds.
std::optional<std::string> violation(Bound bound, const Figures& figures);

/// NMSE of `got` against `want`; NaN or infinite when a result is.
double nmse(std::span<const double> want, std::span<const double> got);
/// The same of the elements of `want` that are not above 100 times the median magnitude.
double nmse_without_outliers(std::vector<double> want, std::vector<double> got);

const char* bound_name(Bound bound);
/// "1 step, 97.95 % equal" or "NMSE 4.1e-08", whatever the bound looks at.
std::string describe(Bound bound, const Figures& figures);

}  // namespace lutra::conformance
