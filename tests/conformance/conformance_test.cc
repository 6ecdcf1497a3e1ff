// Node by node: the host NPU and Qualcomm's runtime against the reference and against each other.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>

#include "again.h"
#include "base/error.h"
#include "conformance/cases.h"
#include "forms.h"
#include "libraries.h"

namespace lutra::conformance {

/// Found by GoogleTest, which would print bytes.
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

namespace {

class Conformance : public ::testing::TestWithParam<Case> {};

/// Data that would not notice a wrong answer proves nothing: a quantised result has to use its range without being saturated.
void expect_teeth(const Tensor& reference, const Case& c) {
  if (!is_quantized(reference.dtype) || reference.size() < 64) return;
  const Limits range = limits(reference.dtype);
  double low = range.high, high = range.low, saturated = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    const double code = stored(reference.dtype, reference.bytes, i);
    low = std::min(low, code);
    high = std::max(high, code);
    saturated += code == range.low || code == range.high;
  }
  EXPECT_GE(high - low, c.span * (range.high - range.low));
  if (!c.saturates) {
    EXPECT_LE(saturated, 0.05 * static_cast<double>(reference.size()));
  }
}

TEST_P(Conformance, IsWithinBounds) {
  const Case& c = GetParam();
  const GraphSpec spec = c.graph();
  if (c.expected_of({.host = true}) == Expected::kRefused) {
    EXPECT_THROW(Libraries::run(spec, true), Error);
    return;
  }
  const std::vector<const Tensor*> outputs = spec.with_role(Role::kOutput);
  const auto [host, qualcomm] = Libraries::run(spec, c.only_host);
  bool excepted = false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& reference = *outputs[i];
    expect_teeth(reference, c);
    std::vector<Comparison> comparisons = {{"host NPU against the reference", against_reference(reference, host[i], c.outliers), false}};
    if (qualcomm) {
      comparisons.push_back({"Qualcomm against the reference", against_reference(reference, (*qualcomm)[i], c.outliers), true});
      comparisons.push_back({"host NPU against Qualcomm", between(reference, host[i], (*qualcomm)[i], c.outliers), true});
    }
    print_row(c.name, bound_name(c.bound), c.bound, comparisons, c.exception);
    for (const auto& [who, figures, with_qualcomm] : comparisons) {
      const std::optional<std::string> broken = violation(c.bound_of({.host = !with_qualcomm}), figures);
      if (with_qualcomm && !c.exception.empty()) {
        excepted = excepted || broken.has_value();
      } else {
        EXPECT_FALSE(broken.has_value()) << who << ": " << *broken;
      }
    }
  }
  if (qualcomm && !c.exception.empty()) {
    EXPECT_TRUE(excepted) << "the exception is not needed: " << c.exception;
  }
}

INSTANTIATE_TEST_SUITE_P(Nodes, Conformance, ::testing::ValuesIn(all_cases()), [](const auto& test) { return test.param.name; });

/// Forms of the nodes of a case.
std::set<std::string> forms(const Case& c) {
  std::set<std::string> out;
  const GraphSpec spec = c.graph();
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

TEST(ConformanceTable, IsLarge) {
  std::set<std::string> ops;
  const std::vector<Case> cases = all_cases();
  for (const Case& c : cases) {
    const GraphSpec spec = c.graph();
    for (const Node& node : spec.nodes()) ops.insert(node.op);
  }
  RecordProperty("cases", static_cast<int>(cases.size()));
  RecordProperty("ops", static_cast<int>(ops.size()));
  std::printf("%zu cases over %zu ops\n", cases.size(), ops.size());
  EXPECT_GE(cases.size(), 300u);
  EXPECT_GE(ops.size(), 60u);
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

/// What a linear would store if it rounded or centred differently.
Bytes stored_as(const Tensor& t, double shift, double (*round)(double)) {
  const Limits range = limits(t.dtype);
  std::vector<double> codes(t.size());
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = std::clamp(round(t.exact[i] / double{t.encoding.scale}) - t.encoding.offset + shift, range.low, range.high);
  }
  return encode(t.dtype, qnn::Encoding::scale_offset(1, 0), codes);
}

TEST(ConformanceBounds, RefuseWrongArithmetic) {
  GraphSpec g(7);
  const size_t x = g.input("x", {DT::kUfixed8, Fit::kMinMax}, {16, 64}, normal(g.random(), 16 * 64));
  const Tensor& y = g.tensor(g.linear(x, g.weight("w", 48, 64, false), "y", {DT::kUfixed8, Fit::kMinMax}));
  const auto broken = [&](const Bytes& got) { return violation(Bound::kLinear8, against_reference(y, got, false)).has_value(); };
  const auto nearest = [](double v) { return std::nearbyint(v); };
  const auto down = [](double v) { return std::floor(v); };
  EXPECT_FALSE(broken(y.bytes));
  EXPECT_FALSE(broken(stored_as(y, 0, nearest)));
  EXPECT_TRUE(broken(stored_as(y, 0, down)));
  EXPECT_TRUE(broken(stored_as(y, 1, nearest)));
  EXPECT_TRUE(broken(Bytes(y.bytes.size())));
}

TEST(ConformanceBounds, RefuseWhatIsNotANumberAndOneWrongElement) {
  GraphSpec g(8);
  const size_t x = g.input("x", {DT::kFloat16}, {8, 32}, normal(g.random(), 8 * 32));
  const Tensor& y = g.tensor(g.unary("Sigmoid", x, "y"));
  const auto broken = [&](const Bytes& got, bool without_outliers) { return violation(Bound::kFloat, against_reference(y, got, without_outliers)).has_value(); };
  EXPECT_FALSE(broken(y.bytes, false));
  for (const double wrong : {std::nan(""), std::numeric_limits<double>::infinity(), 0.0}) {
    Bytes got = y.bytes;
    const Bytes element = encode(DT::kFloat16, {}, std::vector<double>{wrong});
    std::copy(element.begin(), element.end(), got.begin() + 2 * 77);
    EXPECT_TRUE(broken(got, false)) << wrong;
    EXPECT_TRUE(broken(got, true)) << wrong;
  }
}

}  // namespace
}  // namespace lutra::conformance

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::AddGlobalTestEnvironment(new lutra::conformance::Libraries);  // owned by GoogleTest
  const int result = RUN_ALL_TESTS();
  if (result == 0 || !lutra::conformance::Libraries::has_qualcomm() || lutra::conformance::is_alone()) return result;
  return lutra::conformance::ask_again();
}
