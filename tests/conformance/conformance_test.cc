// Node by node: the host NPU and Qualcomm's runtime against the reference and against each other.
#include <gtest/gtest.h>

#include <cstdio>

#include "cases.h"
#include "forms.h"
#include "libraries.h"

namespace lutra::conformance {

/// Found by GoogleTest, which would print bytes.
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

namespace {

class Conformance : public ::testing::TestWithParam<Case> {};

/// Data that would not notice a wrong answer proves nothing: a quantised result has to use its range without being saturated.
void expect_teeth(const Tensor& reference) {
  if (!is_quantized(reference.dtype) || reference.size() < 64) return;
  const Limits range = limits(reference.dtype);
  double low = range.high, high = range.low, saturated = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double code = stored(reference.dtype, reference.bytes, i);
    low = std::min(low, code);
    high = std::max(high, code);
    saturated += code == range.low || code == range.high;
  }
  EXPECT_GE(high - low, 0.7 * (range.high - range.low));
  EXPECT_LE(saturated, 0.05 * static_cast<double>(reference.size()));
}

TEST_P(Conformance, IsWithinBounds) {
  const Case& c = GetParam();
  const GraphSpec spec = c.build();
  const std::vector<const Tensor*> outputs = spec.with_role(Role::kOutput);
  const std::vector<Bytes> host = Libraries::host().run(spec);
  const std::vector<Bytes> qualcomm = Libraries::qualcomm() == nullptr ? host : Libraries::qualcomm()->run(spec);
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& reference = *outputs[i];
    expect_teeth(reference);
    const bool all = c.exception.empty();
    const struct {
      const char* who;
      Figures figures;
      bool required;
    } comparisons[] = {{"host NPU against the reference", against_reference(reference, host[i], c.outliers), true},
                       {"Qualcomm against the reference", against_reference(reference, qualcomm[i], c.outliers), all},
                       {"host NPU against Qualcomm", between(reference, host[i], qualcomm[i], c.outliers), all}};
    if (Libraries::table()) {
      std::printf("| %s | %s | %s | %s | %s | %s |\n", c.name.c_str(), bound_name(c.bound), describe(c.bound, comparisons[0].figures).c_str(),
                  describe(c.bound, comparisons[1].figures).c_str(), describe(c.bound, comparisons[2].figures).c_str(), c.exception.c_str());
    }
    for (const auto& [who, figures, required] : comparisons) {
      if (!required) continue;
      const std::optional<std::string> broken = violation(c.bound, figures);
      EXPECT_FALSE(broken.has_value()) << who << ": " << *broken;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Nodes, Conformance, ::testing::ValuesIn(all_cases()), [](const auto& test) { return test.param.name; });

/// Forms of the nodes of a case.
std::set<std::string> forms(const Case& c) {
  std::set<std::string> out;
  const GraphSpec spec = c.build();
  for (const Node& node : spec.nodes()) out.insert(form_of(spec, node));
  return out;
}

TEST(ConformanceTable, HasEveryFormThatPlansEmit) {
  std::set<std::string> covered;
  for (const Case& c : all_cases()) {
    if (c.exception.empty()) covered.merge(forms(c));
  }
  const std::set<std::string> emitted = forms_of_plans(LUTRA_GOLDEN_DIR);
  EXPECT_GE(emitted.size(), 20u);
  for (const std::string& form : emitted) EXPECT_TRUE(covered.contains(form)) << form << " is in a plan but has no case";
}

TEST(ConformanceTable, HasFewExceptionsAndNoneThatPlansMeet) {
  const std::set<std::string> emitted = forms_of_plans(LUTRA_GOLDEN_DIR);
  const std::vector<Case> cases = all_cases();
  size_t exceptions = 0;
  for (const Case& c : cases) {
    if (c.exception.empty()) continue;
    ++exceptions;
    for (const std::string& form : forms(c)) EXPECT_FALSE(emitted.contains(form)) << c.name << " is excepted: " << c.exception;
  }
  EXPECT_LT(10 * exceptions, cases.size());
}

}  // namespace
}  // namespace lutra::conformance

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::AddGlobalTestEnvironment(new lutra::conformance::Libraries);  // owned by GoogleTest
  return RUN_ALL_TESTS();
}
