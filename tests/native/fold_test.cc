// Every tier of the kernels of conversion against the portable one, bit for bit, and that one against products with the whole matrix.
#include "kernels/fold/fold.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "base/f16.h"

namespace lutra::kernels {
namespace {

constexpr float kGuard = -12345.678f;

std::vector<float> normal(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> out(count);
  for (float& x : out) x = distribution(random);
  return out;
}

struct Rotation {
  std::vector<double> matrix;
  std::vector<float> diagonal;
  FoldRotation view;

  Rotation(uint32_t size, uint32_t pieces) : matrix(size_t{size} * fold_stride(size), 0.0), diagonal(normal(size_t{size} * pieces, 3)), view{size * pieces, size, matrix.data(), diagonal.data()} {
    const auto values = normal(size_t{size} * size, 4);
    for (uint32_t i = 0; i < size; ++i) {
      for (uint32_t k = 0; k < size; ++k) matrix[i * fold_stride(size) + k] = values[i * size + k] / std::sqrt(static_cast<double>(pieces));
    }
  }

  /// Element (i, j) of diag(diagonal) · (H ⊗ M).
  double at(uint32_t i, uint32_t j) const {
    const bool odd = std::popcount((i / view.size) & (j / view.size)) % 2 == 1;
    return diagonal[i] * (odd ? -1 : 1) * matrix[i % view.size * fold_stride(view.size) + j % view.size];
  }
};

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b) { EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)), 0); }

class FoldTest : public testing::TestWithParam<const FoldKernels*> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam()->isa)) GTEST_SKIP() << "this processor has no " << GetParam()->name;
  }
  const FoldKernels& fold() const { return *GetParam(); }
  const FoldKernels& portable() const { return fold_kernels().front(); }
};

TEST_P(FoldTest, RotatesAsTheWholeMatrixDoes) {
  for (const auto& [size, pieces] : {std::pair{1u, 64u}, {1u, 1u}, {3u, 32u}, {7u, 8u}, {9u, 4u}, {93u, 1u}, {255u, 2u}}) {
    const Rotation r(size, pieces);
    const uint32_t hidden = r.view.hidden;
    constexpr size_t kRows = 3;
    const auto x = normal(kRows * hidden, 5);
    auto rows = x, reference = x;
    rows.push_back(kGuard);
    fold().rotate_rows(r.view, rows.data(), kRows);
    EXPECT_EQ(rows.back(), kGuard);
    rows.pop_back();
    portable().rotate_rows(r.view, reference.data(), kRows);
    expect_same_bits(rows, reference);
    for (size_t row = 0; row < kRows; ++row) {
      for (uint32_t j = 0; j < hidden; j += 1 + hidden / 9) {
        double want = 0;
        for (uint32_t i = 0; i < hidden; ++i) want += x[row * hidden + i] * r.at(i, j);
        EXPECT_NEAR(rows[row * hidden + j], want, 1e-5 * std::sqrt(hidden) * std::max(1.0, std::abs(want))) << size << " × " << pieces;
      }
    }
    // Columns are rows of the transposed matrix.
    for (const uint32_t count : {1u, 5u, kFoldColumns}) {
      const size_t stride = kFoldColumns + 3;
      std::vector<float> columns(hidden * stride, kGuard), scratch(size_t{hidden} * kFoldColumns);
      for (uint32_t i = 0; i < hidden; ++i) {
        for (uint32_t j = 0; j < count; ++j) columns[i * stride + j] = x[j % kRows * hidden + i];
      }
      fold().rotate_columns(r.view, columns.data(), stride, count, scratch.data());
      for (uint32_t i = 0; i < hidden; ++i) {
        for (uint32_t j = 0; j < count; ++j) ASSERT_EQ(std::bit_cast<uint32_t>(columns[i * stride + j]), std::bit_cast<uint32_t>(reference[j % kRows * hidden + i]));
        EXPECT_EQ(columns[i * stride + count], kGuard);
      }
    }
  }
}

TEST_P(FoldTest, QuantisesRows) {
  for (const uint32_t cols : {1u, 7u, 16u, 33u, 100u}) {
    for (const float spread : {1.0f, 0.0f, 1e-43f, 1e36f}) {
      auto x = normal(cols, cols);
      for (size_t i = 0; i < cols; ++i) x[i] = i % 3 == 0 ? std::rint(x[i] * 8) / 2 * spread : x[i] * spread;
      std::vector<int8_t> codes(cols + 1, 99), want(cols);
      float scale = 0, expected = 0;
      EXPECT_TRUE(fold().quantize_row(x.data(), cols, codes.data(), &scale));
      EXPECT_TRUE(portable().quantize_row(x.data(), cols, want.data(), &expected));
      EXPECT_EQ(scale, expected);
      EXPECT_TRUE(std::equal(want.begin(), want.end(), codes.begin()));
      EXPECT_EQ(codes[cols], 99);
    }
    for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      auto x = normal(cols, 1);
      x[cols / 2] = -bad;
      std::vector<int8_t> codes(cols);
      float scale;
      EXPECT_FALSE(fold().quantize_row(x.data(), cols, codes.data(), &scale));
      EXPECT_FALSE(fold().finite(x.data(), cols));
      x[cols / 2] = 0;
      EXPECT_TRUE(fold().finite(x.data(), cols));
    }
  }
}

TEST_P(FoldTest, WidensEveryNumber) {
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  const auto check = [&](const auto& widen, const auto& scalar, size_t first, size_t count) {
    std::vector<float> out(count + 1, kGuard);
    bool good = true;
    const bool found = widen(all.data() + first, count, out.data());
    for (size_t i = 0; i < count; ++i) {
      const float want = scalar(all[first + i]);
      good = good && std::isfinite(want);
      if (std::isnan(want)) continue;
      ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), std::bit_cast<uint32_t>(want)) << first + i;
    }
    EXPECT_EQ(found, good) << first;
    EXPECT_EQ(out[count], kGuard);
  };
  for (const size_t count : {1u, 5u, 16u, 37u}) {
    for (size_t first = 0; first + count <= all.size(); first += count) {
      check(fold().widen_bf16, [](uint16_t x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }, first, count);
      check(fold().widen_f16, [](uint16_t x) { return f16_to_f32(x); }, first, count);
    }
  }
}

std::vector<const FoldKernels*> tiers() {
  std::vector<const FoldKernels*> out;
  for (const FoldKernels& one : fold_kernels()) out.push_back(&one);
  return out;
}
INSTANTIATE_TEST_SUITE_P(Tiers, FoldTest, testing::ValuesIn(tiers()), [](const auto& tier) { return tier.param->name; });

}  // namespace
}  // namespace lutra::kernels
