// Every tier of the shadow linear against the definition in double, and against the linear it repairs.
#include "kernels/shadow/shadow.h"
#include "guarded.h"
#include "tiers_of.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace lutra::kernels {
namespace {

constexpr float kUntouched = -12345.0f;

struct Problem {
  uint32_t in, out;
  std::vector<int8_t> w;
  std::vector<float> scale, x, base;
  std::vector<uint8_t> yq;
  Encoding x_encoding, y_encoding;
  bool has_base = true, has_yq = true;

  ShadowWeight weight() const { return {w.data(), scale.data(), in, out}; }
};

struct Result {
  std::vector<float> y;
  ShadowStats stats;
};

Encoding signed8(float scale) { return {scale, 0, -128, 127}; }
Encoding unsigned8(float scale, int32_t offset) { return {scale, offset, 0, 255}; }

/// About `clipped` of the inputs lie outside the range, and about `saturated` of the outputs are at its ends.
Problem make_problem(uint32_t in, uint32_t out, Encoding x_encoding, Encoding y_encoding, double clipped, double saturated, uint32_t seed) {
  Problem p{in, out, {}, {}, {}, {}, {}, x_encoding, y_encoding};
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> unit;
  for (uint32_t i = 0; i < in * out; ++i) p.w.push_back(static_cast<int8_t>(random()));
  for (uint32_t o = 0; o < out; ++o) p.scale.push_back(0.001f + 0.01f * unit(random));
  const float low = static_cast<float>(x_encoding.lo + x_encoding.offset) * x_encoding.scale;
  const float high = static_cast<float>(x_encoding.hi + x_encoding.offset) * x_encoding.scale;
  for (uint32_t k = 0; k < in; ++k) {
    float x = low + (high - low) * unit(random);
    if (unit(random) < clipped) x = random() % 2 ? high + (0.6f + 500 * unit(random)) * x_encoding.scale : low - (0.6f + 500 * unit(random)) * x_encoding.scale;
    p.x.push_back(x);
  }
  for (uint32_t o = 0; o < out; ++o) {
    p.base.push_back(unit(random) - 0.5f);
    int q = y_encoding.lo + 1 + static_cast<int>(random() % static_cast<uint32_t>(y_encoding.hi - y_encoding.lo - 1));
    if (unit(random) < saturated) q = random() % 2 ? y_encoding.lo : y_encoding.hi;
    p.yq.push_back(static_cast<uint8_t>(q));
  }
  return p;
}

Result run(const ShadowKernel& kernel, const Problem& p) {
  Result result{std::vector<float>(p.out + 5, kUntouched), {}};
  std::vector<float> scratch(p.in + p.out + 7, kUntouched);
  kernel.run_row(p.weight(), p.x.data(), p.x_encoding, p.has_base ? p.base.data() : nullptr, p.has_yq ? p.yq.data() : nullptr, p.y_encoding, scratch.data(), result.y.data(),
                 result.stats);
  for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(result.y[p.out + i], kUntouched);
  for (uint32_t i = 0; i < 7; ++i) EXPECT_EQ(scratch[p.in + p.out + i], kUntouched);
  return result;
}

struct Expected {
  std::vector<double> y, magnitude;  // magnitude: Σ |x · w| of what is summed, the measure of rounding error
  uint64_t inputs = 0, outputs = 0;
};

/// The definition, element by element.
Expected expect(const Problem& p) {
  Expected e;
  std::vector<double> residual(p.in), effective(p.in);
  for (uint32_t k = 0; k < p.in; ++k) {
    const float steps = std::isnan(p.x[k]) ? 0.0f : std::nearbyint(p.x[k] / p.x_encoding.scale);
    const double q = static_cast<double>(steps) - p.x_encoding.offset;
    const double c = std::min<double>(std::max<double>(q, p.x_encoding.lo), p.x_encoding.hi);
    const double dequantised = (c + p.x_encoding.offset) * p.x_encoding.scale;
    effective[k] = q != c ? p.x[k] : dequantised;
    residual[k] = q != c ? p.x[k] - dequantised : 0.0;
    e.inputs += q != c;
  }
  for (uint32_t o = 0; o < p.out; ++o) {
    double y = p.has_base ? p.base[o] : 0.0, add = 0, whole = 0, magnitude = std::fabs(y);
    const int q = p.y_encoding.lo < 0 ? static_cast<int8_t>(p.yq[o]) : p.yq[o];
    const bool saturated = p.has_yq && (q == p.y_encoding.lo || q == p.y_encoding.hi);
    for (uint32_t k = 0; k < p.in; ++k) {
      const double w = static_cast<double>(p.w[static_cast<size_t>(k) * p.out + o]) * p.scale[o];
      add += residual[k] * w;
      whole += effective[k] * w;
      if (saturated || residual[k] != 0.0) magnitude += std::fabs(effective[k] * w);
    }
    if (!p.has_yq) y += add;
    else y += saturated ? whole : (q + p.y_encoding.offset) * static_cast<double>(p.y_encoding.scale) + add;
    e.y.push_back(y);
    e.magnitude.push_back(magnitude + std::fabs(y));
    e.outputs += saturated;
  }
  return e;
}

void check(const Result& got, const Expected& want, const std::string& what) {
  EXPECT_EQ(got.stats.repaired_inputs, want.inputs) << what;
  EXPECT_EQ(got.stats.repaired_outputs, want.outputs) << what;
  for (size_t o = 0; o < want.y.size(); ++o) ASSERT_NEAR(got.y[o], want.y[o], 3e-6 * want.magnitude[o]) << what << " output " << o;
}

class ShadowTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor lacks " << isa_name(GetParam());
  }
  const ShadowKernel& kernel() const { return shadow_kernel(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Tiers, ShadowTest, testing::ValuesIn(tiers_of(shadow_kernels())), [](const auto& p) { return std::string(isa_name(p.param)); });

TEST_P(ShadowTest, FollowsTheDefinition) {
  struct Size {
    uint32_t in, out;
  };
  const Encoding inputs[] = {signed8(0.03f), unsigned8(0.011f, -97), {0.0002f, -31000, 0, 65535}};
  const Encoding outputs[] = {signed8(0.4f), unsigned8(0.07f, -120)};
  uint32_t seed = 1;
  for (Size size : {Size{1536, 576}, {576, 192}, {576, 1536}, {33, 17}, {7, 3}, {1, 1}, {17, 16}, {16, 100}, {100, 15}}) {
    if (kEmulated && size.in * size.out > 200'000) continue;
    for (const Encoding& x_encoding : inputs) {
      for (const Encoding& y_encoding : outputs) {
        for (double saturated : {0.0, 0.05, 1.0}) {
          Problem p = make_problem(size.in, size.out, x_encoding, y_encoding, 0.1, saturated, ++seed);
          for (int form = 0; form < 4; ++form) {
            p.has_base = form & 1;
            p.has_yq = form & 2;
            check(run(kernel(), p), expect(p), std::to_string(size.in) + "x" + std::to_string(size.out) + " seed " + std::to_string(seed) + " form " + std::to_string(form));
            if (testing::Test::HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(ShadowTest, NothingClippedGivesTheBaseAndEverythingClippedIsRepaired) {
  for (double clipped : {0.0, 1.0}) {
    Problem p = make_problem(200, 48, signed8(0.02f), signed8(0.4f), clipped, 0.0, 5);
    p.has_yq = false;
    const Result got = run(kernel(), p);
    EXPECT_EQ(got.stats.repaired_inputs, clipped > 0 ? 200u : 0u);
    check(got, expect(p), "clipped " + std::to_string(clipped));
    double change = 0;
    for (uint32_t o = 0; o < p.out; ++o) change += std::fabs(got.y[o] - p.base[o]);
    if (clipped > 0) EXPECT_GT(change, 1.0);
    else EXPECT_EQ(change, 0.0);
  }
}

// The point of it all: 8-bit linear + shadow = the linear of the unclipped input, up to the 8-bit steps of unclipped elements.
TEST_P(ShadowTest, RepairsWhatAnEightBitLinearClipped) {
  Problem p = make_problem(576, 64, signed8(0.03f), signed8(0.4f), 0.05, 0.0, 9);
  p.has_yq = false;
  double before = 0, after = 0, energy = 0;
  std::vector<double> exact(p.out);
  for (uint32_t o = 0; o < p.out; ++o) {
    double clipped_sum = 0;
    for (uint32_t k = 0; k < p.in; ++k) {
      const double q = std::nearbyint(p.x[k] / p.x_encoding.scale), c = std::min(std::max(q, -128.0), 127.0);
      const double w = static_cast<double>(p.w[k * p.out + o]) * p.scale[o];
      clipped_sum += c * p.x_encoding.scale * w;
      exact[o] += p.x[k] * w;
    }
    p.base[o] = static_cast<float>(clipped_sum);
  }
  const Result got = run(kernel(), p);
  for (uint32_t o = 0; o < p.out; ++o) {
    before += (p.base[o] - exact[o]) * (p.base[o] - exact[o]);
    after += (got.y[o] - exact[o]) * (got.y[o] - exact[o]);
    energy += exact[o] * exact[o];
  }
  EXPECT_GT(before / energy, 0.1);
  EXPECT_LT(after / energy, 1e-4);
}

TEST_P(ShadowTest, BoundariesAreNotClippedAndTiesRoundToEven) {
  Problem p = make_problem(6, 16, signed8(0.5f), signed8(0.4f), 0.0, 0.0, 13);
  // In steps: 127 and −128 are the ends; 127.5 rounds to 128 (clipped), 126.5 to 126, −128.5 to −128 (not clipped), −129 is clipped.
  const float steps[] = {127.0f, -128.0f, 127.5f, 126.5f, -128.5f, -129.0f};
  for (int k = 0; k < 6; ++k) p.x[k] = 0.5f * steps[k];
  p.has_yq = false;
  const Result got = run(kernel(), p);
  EXPECT_EQ(got.stats.repaired_inputs, 2u);
  check(got, expect(p), "boundaries");
}

TEST_P(ShadowTest, NotANumberCountsAsTheZeroPoint) {
  for (Encoding x_encoding : {signed8(0.03f), unsigned8(0.01f, -300), unsigned8(0.01f, 10)}) {  // also ranges that zero lies outside of
    Problem p = make_problem(40, 20, x_encoding, signed8(0.4f), 0.1, 0.3, 17);
    p.x[3] = std::numeric_limits<float>::quiet_NaN();
    p.x[39] = -std::numeric_limits<float>::quiet_NaN();
    const Result got = run(kernel(), p);
    Problem zero = p;  // the same with a value that is never clipped and has the weight zero
    for (uint32_t k : {3u, 39u}) {
      zero.x[k] = static_cast<float>(p.x_encoding.lo + 5 + p.x_encoding.offset) * p.x_encoding.scale;
      for (uint32_t o = 0; o < p.out; ++o) zero.w[k * p.out + o] = 0;
    }
    check(got, expect(zero), "nan");
  }
}

TEST_P(ShadowTest, InfinityDoesNotCrash) {
  Problem p = make_problem(40, 20, signed8(0.03f), signed8(0.4f), 0.1, 0.3, 19);
  p.x[7] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(std::isfinite(run(kernel(), p).y[0]));
  p.x[7] = 3e38f;
  EXPECT_GT(run(kernel(), p).stats.repaired_inputs, 0u);
}

TEST_P(ShadowTest, StatisticsAccumulateAndOutputMayReplaceBase) {
  Problem p = make_problem(300, 70, signed8(0.03f), signed8(0.4f), 0.1, 0.1, 23);
  const Result once = run(kernel(), p);
  ASSERT_GT(once.stats.repaired_inputs, 0u);
  ASSERT_GT(once.stats.repaired_outputs, 0u);
  ShadowStats stats;
  std::vector<float> scratch(p.in + p.out), y = p.base;
  kernel().run_row(p.weight(), p.x.data(), p.x_encoding, y.data(), p.yq.data(), p.y_encoding, scratch.data(), y.data(), stats);
  for (uint32_t o = 0; o < p.out; ++o) EXPECT_EQ(y[o], once.y[o]);
  kernel().run_row(p.weight(), p.x.data(), p.x_encoding, nullptr, p.yq.data(), p.y_encoding, scratch.data(), y.data(), stats);
  EXPECT_EQ(stats.repaired_inputs, 2 * once.stats.repaired_inputs);
  EXPECT_EQ(stats.repaired_outputs, 2 * once.stats.repaired_outputs);
}

// Rows that are kept apart are the same bytes: the result has the same bits, and the statistics say how many were read there.
TEST_P(ShadowTest, HotRowsAreReadWhereTheyAreKept) {
  Problem p = make_problem(300, 70, signed8(0.03f), signed8(0.4f), 0.2, 0.1, 29);
  const Result plain = run(kernel(), p);
  std::vector<uint32_t> places(p.in, ShadowWeight::kNotHot);
  std::vector<int8_t> hot;
  uint64_t hot_inputs = 0;
  for (uint32_t k = 0; k < p.in; k += 3) {
    places[k] = static_cast<uint32_t>(hot.size()) / p.out;
    hot.insert(hot.end(), p.w.begin() + k * p.out, p.w.begin() + (k + 1) * p.out);
    hot_inputs += std::nearbyint(p.x[k] / p.x_encoding.scale) > 127 || std::nearbyint(p.x[k] / p.x_encoding.scale) < -128;
  }
  ASSERT_GT(hot_inputs, 5u);
  ShadowWeight weight = p.weight();
  weight.hot = hot.data();
  weight.hot_place = places.data();
  const auto with_hot = [&] {
    Result result{std::vector<float>(p.out), {}};
    std::vector<float> scratch(p.in + p.out);
    kernel().run_row(weight, p.x.data(), p.x_encoding, p.base.data(), p.yq.data(), p.y_encoding, scratch.data(), result.y.data(), result.stats);
    return result;
  };
  const Result same = with_hot();
  for (uint32_t o = 0; o < p.out; ++o) ASSERT_EQ(same.y[o], plain.y[o]) << o;
  EXPECT_EQ(same.stats.repaired_inputs, plain.stats.repaired_inputs);
  EXPECT_EQ(same.stats.hot_inputs, hot_inputs);
  EXPECT_EQ(plain.stats.hot_inputs, 0u);
  // It has teeth: other bytes there give another result.
  for (int8_t& byte : hot) byte = static_cast<int8_t>(byte ^ 1);
  const Result other = with_hot();
  EXPECT_NE(std::vector<float>(plain.y.begin(), plain.y.begin() + p.out), other.y);
}

/// Adds a row of W four outputs at a time, as ShadowKernel must not: each time it loads eight.
void add_row_reading_too_far(const ShadowWeight& w, uint32_t k, float residual, float* sums) {
  const int8_t* row = w.w + size_t{k} * w.out;
  for (uint32_t o = 0; o + 4 <= w.out; o += 4) {
    volatile int8_t loaded[8];
    for (uint32_t i = 0; i < 8; ++i) loaded[i] = row[o + i];
    for (uint32_t i = 0; i < 4; ++i) sums[o + i] += residual * static_cast<float>(loaded[i]);
  }
}

// Weights, inputs, codes and results each end where memory ends, with the last input clipped and the last output saturated.
TEST_P(ShadowTest, ReadsAndWritesNothingPastTheEnd) {
  for (uint32_t in : {1u, 7u, 16u, 33u}) {
    for (uint32_t out : {1u, 4u, 8u, 15u, 16u, 17u, 31u, 64u, 100u}) {
      Problem p = make_problem(in, out, signed8(0.03f), signed8(0.4f), 0.3, 0.3, in * 200 + out);
      p.x.back() = 100.0f;
      p.yq.back() = 127;
      const auto copied = [](const auto& from, Guarded& to) { std::memcpy(to.bytes().data(), from.data(), to.bytes().size()); };
      Guarded w(p.w.size()), scale(out * 4), x(in * 4), base(out * 4), yq(out), scratch((in + out) * 4), y(out * 4);
      copied(p.w, w), copied(p.scale, scale), copied(p.x, x), copied(p.base, base), copied(p.yq, yq);
      const auto floats = [](Guarded& memory) { return reinterpret_cast<float*>(memory.bytes().data()); };
      const ShadowWeight weight{reinterpret_cast<const int8_t*>(w.bytes().data()), floats(scale), in, out};
      ShadowStats stats;
      kernel().run_row(weight, floats(x), p.x_encoding, floats(base), reinterpret_cast<const uint8_t*>(yq.bytes().data()), p.y_encoding, floats(scratch), floats(y), stats);
      check({{floats(y), floats(y) + out}, stats}, expect(p), std::to_string(in) + "x" + std::to_string(out));
    }
  }
}

// That the test above notices a load of eight weights for four of them.
TEST(ShadowDeathTest, ReadingPastTheLastRowIsNoticed) {
  EXPECT_DEATH(
      {
        Guarded w(8 * 16);
        std::vector<float> sums(16);
        add_row_reading_too_far({reinterpret_cast<const int8_t*>(w.bytes().data()), nullptr, 8, 16}, 7, 1.0f, sums.data());
      },
      "");
}

/// Weights of one page a row, of which a single row may be touched.
class OneRow {
 public:
  OneRow(const Problem& p, uint32_t row) : bytes_(p.w.size()) {
    base_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    std::memcpy(base_, p.w.data(), bytes_);
    mprotect(base_, bytes_, PROT_NONE);
    mprotect(static_cast<std::byte*>(base_) + size_t{row} * p.out, p.out, PROT_READ);
  }
  ~OneRow() { munmap(base_, bytes_); }
  OneRow(const OneRow&) = delete;
  OneRow& operator=(const OneRow&) = delete;
  const int8_t* weights() const { return static_cast<const int8_t*>(base_); }

 private:
  size_t bytes_;
  void* base_;
};

Problem one_clipped(uint32_t row) {
  Problem p = make_problem(6, static_cast<uint32_t>(sysconf(_SC_PAGESIZE)), signed8(0.03f), signed8(0.4f), 0.0, 0.0, 31);
  p.x[row] = 100.0f;
  return p;
}

// Rows of inputs that were not clipped stay where they are, on a disk perhaps: nothing scans or copies W.
TEST_P(ShadowTest, TouchesOnlyTheRowsOfClippedInputs) {
  for (uint32_t row : {0u, 3u, 5u}) {
    const Problem p = one_clipped(row);
    const OneRow w(p, row);
    Result got{std::vector<float>(p.out), {}};
    std::vector<float> scratch(p.in + p.out);
    kernel().run_row({w.weights(), p.scale.data(), p.in, p.out}, p.x.data(), p.x_encoding, p.base.data(), p.yq.data(), p.y_encoding, scratch.data(), got.y.data(), got.stats);
    check(got, expect(p), "row " + std::to_string(row));
  }
}

// That the test above notices an operator that keeps a transposed copy of W.
TEST(ShadowDeathTest, TransposingTheWeightsIsNoticed) {
  const Problem p = one_clipped(3);
  const OneRow w(p, 3);
  std::vector<int8_t> transposed(p.w.size());
  const volatile int8_t* from = w.weights();
  EXPECT_DEATH(
      {
        for (uint32_t k = 0; k < p.in; ++k) {
          for (uint32_t o = 0; o < p.out; ++o) transposed[size_t{o} * p.in + k] = from[size_t{k} * p.out + o];
        }
      },
      "");
}

}  // namespace
}  // namespace lutra::kernels
