// Whole segments. Each node may differ by a step, and the next ones carry that on; but two results must not differ by more than two independent roundings
// of the same reals do, which is twice the error of one.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "conformance/compare.h"
#include "libraries.h"
#include "segments.h"

namespace lutra::conformance {

/// Found by GoogleTest, which would print bytes.
void PrintTo(const SegmentCase& c, std::ostream* out) { *out << c.name; }

namespace {

constexpr uint32_t kSeed = 1000;
/// What F16 arithmetic between the linears may differ by, whatever the precision.
constexpr double kFloatNmse = 1e-6;

class Segment : public ::testing::TestWithParam<SegmentCase> {};

/// NMSE of what the reference computes against the same without rounding to steps.
double quantization_noise(const Tensor& rounded, const Tensor& unrounded) {
  std::vector<double> got(rounded.size());
  for (size_t i = 0; i < got.size(); ++i) got[i] = real(rounded, rounded.bytes, i);
  return nmse_without_outliers(unrounded.exact, got);
}

TEST_P(Segment, IsTheSameOnBothLibraries) {
  const SegmentCase& c = GetParam();
  const GraphSpec spec = segment_graph(c, kSeed, Rounding::kStored);
  const GraphSpec unrounded = segment_graph(c, kSeed, Rounding::kNone);
  const std::vector<const Tensor*> outputs = spec.with_role(Role::kOutput);
  const auto [host, qualcomm] = Libraries::run(spec);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& reference = *outputs[i];
    const double noise = quantization_noise(reference, *unrounded.with_role(Role::kOutput)[i]);
    const double bound = std::max(kFloatNmse, 2 * noise);
    std::vector<Comparison> comparisons = {{"host NPU against the reference", between(reference, host[i], reference.bytes, true), false}};
    if (qualcomm) {
      comparisons.push_back({"Qualcomm against the reference", between(reference, (*qualcomm)[i], reference.bytes, true), true});
      comparisons.push_back({"host NPU against Qualcomm", between(reference, host[i], (*qualcomm)[i], true), true});
    }
    char text[64];
    std::snprintf(text, sizeof text, "NMSE <= %.1e", bound);
    print_row("segment " + c.name + ", " + reference.name, text, Bound::kFloat, comparisons, "");
    for (const Comparison& one : comparisons) EXPECT_LE(one.figures.nmse, bound) << reference.name << ", " << one.who;
  }
}

INSTANTIATE_TEST_SUITE_P(Decoder, Segment, ::testing::ValuesIn(segment_cases()), [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace lutra::conformance
