// The sampler against the distribution that its options describe.
#include "kernels/sample/sample.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "kernels/sample/logprobs.h"

namespace lutra::kernels {
namespace {

const std::vector<float> kLogits{0.5f, 2.0f, -1.0f, 1.0f, 2.0f, 0.0f};

/// Shares of `draws` samples.
std::map<uint32_t, double> shares(const SampleOptions& options, const std::vector<float>& logits, std::span<const uint32_t> recent = {}, int draws = 40000) {
  Sampler sampler(options);
  std::map<uint32_t, double> counts;
  for (int i = 0; i < draws; ++i) counts[sampler.sample(logits, recent)] += 1.0 / draws;
  return counts;
}

void expect_distribution(const std::map<uint32_t, double>& actual, const std::map<uint32_t, double>& weights) {
  double total = 0;
  for (const auto& [token, weight] : weights) total += weight;
  for (const auto& [token, share] : actual) EXPECT_TRUE(weights.contains(token)) << token << " was drawn";
  for (const auto& [token, weight] : weights) {
    ASSERT_TRUE(actual.contains(token)) << token;
    EXPECT_NEAR(actual.at(token), weight / total, 0.012) << token;
  }
}

TEST(Sampler, GreedyTakesTheLowestIdOfEquals) { EXPECT_EQ(Sampler({}).sample(kLogits, {}), 1u); }

TEST(Sampler, TemperatureShapesTheDistribution) {
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    std::map<uint32_t, double> weights;
    for (uint32_t i = 0; i < kLogits.size(); ++i) weights[i] = std::exp(kLogits[i] / temperature);
    expect_distribution(shares({.temperature = temperature, .seed = 3}, kLogits), weights);
  }
}

TEST(Sampler, TopKTopPAndMinPCutTheTail) {
  const auto e = [](double x) { return std::exp(x); };
  expect_distribution(shares({.temperature = 1, .top_k = 3, .seed = 1}, kLogits), {{1, e(2)}, {4, e(2)}, {3, e(1)}});
  // Shares of the best: .36 .36 .13 …: .8 needs three.
  expect_distribution(shares({.temperature = 1, .top_p = 0.8f, .seed = 2}, kLogits), {{1, e(2)}, {4, e(2)}, {3, e(1)}});
  expect_distribution(shares({.temperature = 1, .min_p = 0.2f, .seed = 4}, kLogits), {{1, e(2)}, {4, e(2)}, {3, e(1)}, {0, e(0.5)}});
  EXPECT_EQ(shares({.temperature = 1, .top_p = 1e-6f, .seed = 5}, kLogits, {}, 200).size(), 1u);
}

TEST(Sampler, RepetitionPenaltyLowersBothSigns) {
  const std::vector<uint32_t> recent{1, 2, 1, 999};
  std::map<uint32_t, double> weights;
  for (uint32_t i = 0; i < kLogits.size(); ++i) weights[i] = std::exp(i == 1 ? 1.0f : i == 2 ? -2.0f : kLogits[i]);
  expect_distribution(shares({.temperature = 1, .repetition_penalty = 2, .seed = 6}, kLogits, recent), weights);
  EXPECT_EQ(Sampler({.repetition_penalty = 2}).sample(kLogits, recent), 4u);
}

TEST(Sampler, TheSeedDecidesEverything) {
  const SampleOptions options{.temperature = 1.5f, .top_p = 0.95f, .seed = 42};
  Sampler a(options), b(options), c({.temperature = 1.5f, .top_p = 0.95f, .seed = 43});
  int different = 0;
  for (int i = 0; i < 200; ++i) {
    const uint32_t token = a.sample(kLogits, {});
    EXPECT_EQ(token, b.sample(kLogits, {}));
    different += token != c.sample(kLogits, {});
  }
  EXPECT_GT(different, 50);
}

TEST(Sampler, LogitsThatAreNotFiniteAreNeverDrawn) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const std::vector<float> logits{nan, 1, -inf, nan, 0.5f, inf};
  EXPECT_EQ(Sampler({}).sample(logits, {}), 1u);
  expect_distribution(shares({.temperature = 1, .seed = 7}, logits), {{1, std::exp(1.0)}, {4, std::exp(0.5)}});
  const std::vector<float> nothing{nan, -inf};
  EXPECT_THROW(Sampler({}).sample(nothing, {}), Error);
}

TEST(Sampler, WholeVocabulary) {
  // 1000 equal candidates behind two good ones: the nucleus is longer than one sorted stretch, and ties are cut by id.
  std::vector<float> logits(1000, 0.0f);
  logits[900] = 3.0f;
  logits[17] = 2.0f;
  const double total = 998 + std::exp(3.0) + std::exp(2.0);
  const double equals = std::ceil(0.5 * total - std::exp(3.0) - std::exp(2.0));  // how many of the equal ones are needed
  std::map<uint32_t, double> counts = shares({.temperature = 1, .top_p = 0.5f, .seed = 8}, logits, {}, 20000);
  counts.erase(900);
  EXPECT_EQ(counts.rbegin()->first, equals);  // ids 0 … equals without 17
  EXPECT_EQ(counts.size(), equals + 1);
  // Without a cut every token can come, in its share.
  counts = shares({.temperature = 1, .seed = 9}, logits, {}, 20000);
  EXPECT_GT(counts.size(), 990u);
  EXPECT_NEAR(counts[900], std::exp(3.0) / total, 0.003);
  logits[900] = 200.0f;
  EXPECT_EQ(shares({.temperature = 1, .seed = 9}, logits, {}, 500).size(), 1u);
}

TEST(Sampler, OptionsOutOfRangeAreRefused) {
  for (const SampleOptions& o : {SampleOptions{.temperature = -1}, SampleOptions{.top_p = 0}, SampleOptions{.top_p = 1.5f}, SampleOptions{.min_p = 2}, SampleOptions{.repetition_penalty = 0}}) {
    EXPECT_THROW(Sampler{o}, Error);
  }
}

TEST(Logprobs, AreThoseOfTheSoftmax) {
  double sum = 0;
  for (const float logit : kLogits) sum += std::exp(static_cast<double>(logit));
  const auto all = logprobs(kLogits, 3, 100);
  ASSERT_EQ(all.size(), 1 + kLogits.size());
  const std::vector<uint32_t> order{3, 1, 4, 3, 0, 5, 2};
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(all[i].token, order[i]);
    EXPECT_NEAR(all[i].value, kLogits[order[i]] - std::log(sum), 1e-12);
  }
  EXPECT_EQ(logprobs(kLogits, 3, 0).size(), 1u);
  EXPECT_EQ(logprobs(kLogits, 3, 2).back().token, 4u);
}

TEST(Logprobs, WhatIsNoNumberHasNone) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), never = -std::numeric_limits<float>::infinity();
  const auto all = logprobs(std::vector{nan, 1.0f, never, 1.0f}, 0, 4);
  const std::vector<uint32_t> order{0, 1, 3, 0, 2};
  for (size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i].token, order[i]);
  EXPECT_EQ(all[0].value, never);
  EXPECT_NEAR(all[1].value, std::log(0.5), 1e-12);
  EXPECT_EQ(all[4].value, never);
}

}  // namespace
}  // namespace lutra::kernels
