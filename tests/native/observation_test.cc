// What an `observe` step counts, against the obvious loop.
#include "plan/observation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"

namespace lutra::plan {
namespace {

constexpr size_t kColumns = 613;

std::vector<float> some_rows(size_t rows, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(rows * kColumns);
  for (size_t i = 0; i < x.size(); ++i) x[i] = normal(random) * std::exp2(static_cast<float>(i % kColumns % 40) - 20) + (i % kColumns == 7 ? 5.0f : 0.0f);
  return x;
}

std::vector<double> values_of(const Observation& o) {
  std::vector<double> values(o.value_count());
  o.values(values);
  return values;
}

/// Value by value, row after row.
std::vector<double> reference(const std::vector<float>& x) {
  const size_t n = kColumns;
  std::vector<double> v(4 + Observation::kBins + 4 * n);
  double *bins = v.data() + 4, *squares = bins + Observation::kBins, *minima = squares + n, *maxima = minima + n, *rows = maxima + n;
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t r = i / n, c = i % n;
    const int bin = static_cast<int>((std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu) >> 16) - (97 << 7);
    ++bins[std::max(0, std::min(bin, static_cast<int>(Observation::kBins) - 1))];
    squares[c] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    if (r == 0 || std::abs(x[i]) > std::max(std::abs(minima[c]), std::abs(maxima[c]))) rows[c] = static_cast<double>(r);
    minima[c] = r == 0 ? x[i] : std::min<double>(minima[c], x[i]);
    maxima[c] = r == 0 ? x[i] : std::max<double>(maxima[c], x[i]);
  }
  v[0] = static_cast<double>(x.size());
  v[1] = *std::min_element(minima, minima + n);
  v[2] = *std::max_element(maxima, maxima + n);
  for (size_t c = 0; c < n; ++c) v[3] += squares[c];
  return v;
}

TEST(Observation, IsTheObviousLoopForAnyThreadsAndChunks) {
  const auto x = some_rows(700, 3);
  const auto expected = reference(x);
  for (const uint32_t threads : {1u, 2u, 3u, 7u}) {
    ThreadPool pool(threads);
    for (const size_t chunk : {size_t{1}, size_t{256}, size_t{700}}) {
      Observation o(kColumns);
      for (size_t r = 0; r < 700; r += chunk) o.add(x.data() + r * kColumns, std::min(chunk, 700 - r), pool);
      EXPECT_EQ(values_of(o), expected) << threads << " threads, chunks of " << chunk;
    }
  }
}

TEST(Observation, GoesOnFromWhatWasWritten) {
  ThreadPool pool(2);
  const auto x = some_rows(90, 5);
  Observation whole(kColumns), first(kColumns), second(kColumns);
  whole.add(x.data(), 90, pool);
  first.add(x.data(), 40, pool);
  second.restore(values_of(first));
  EXPECT_EQ(values_of(second), values_of(first));
  second.add(x.data() + 40 * kColumns, 50, pool);
  EXPECT_EQ(values_of(second), values_of(whole));
  Observation none(kColumns);
  second.restore(values_of(none));
  second.add(x.data(), 90, pool);
  EXPECT_EQ(values_of(second), values_of(whole));
}

TEST(Observation, RefusesWhatItCannotGoOnFrom) {
  ThreadPool pool(1);
  const auto x = some_rows(3, 5);
  Observation o(kColumns);
  o.add(x.data(), 3, pool);
  const auto good = values_of(o);
  const auto refused = [&](std::vector<double> values) {
    try {
      o.restore(values);
    } catch (const Error& error) {
      return error.code() == ErrorCode::kInvalidArgument && values_of(o) == good;
    }
    return false;
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused(std::vector<double>(good.begin(), good.end() - 1)));
  for (const double bad : {-1.0, 0.5, 1e300, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{4}, good.size() - 1}) {
      auto values = good;
      values[at] = bad;
      EXPECT_TRUE(refused(values)) << bad << " at " << at;
    }
  }
}

TEST(Observation, NanReachesTheSumOfSquares) {
  ThreadPool pool(1);
  std::vector<float> x(kColumns, 1.0f);
  x[9] = std::numeric_limits<float>::quiet_NaN();
  Observation o(kColumns);
  o.add(x.data(), 1, pool);
  EXPECT_TRUE(std::isnan(values_of(o)[3]));
}

}  // namespace
}  // namespace lutra::plan
