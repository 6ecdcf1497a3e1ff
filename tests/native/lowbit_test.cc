// Every kernel of low-bit weights: int32 sums equal to the reference of its family, products against doubles, and nothing read or written outside what it was given.
#include "kernels/lowbit/lowbit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/f16.h"
#include "guarded.h"
#include "tiers_of.h"

namespace lutra::kernels {
namespace {

struct TestWeight {
  LowBitFormat format;
  uint32_t rows, cols;
  std::vector<uint8_t> codes;
  std::vector<float> scales, offsets;  // [rows, groups]
  uint32_t groups;
  std::unique_ptr<Guarded> packed;

  PackedWeight view() const { return {weight_type(format), rows, cols, packed->bytes().data()}; }

  double value(uint32_t row, uint32_t col) const {
    const uint32_t group = format.group == 0 ? 0 : col / format.group;
    const double code = codes[size_t{row} * cols + col], d = scales[row * groups + group];
    switch (format.offset) {
      case Offset::kMinimum: return code * d + static_cast<double>(offsets[row * groups + group]);
      case Offset::kZero: return (code - static_cast<double>(offsets[row * groups + group])) * d;
      case Offset::kNone: break;
    }
    return format.bits == 1 ? (2 * code - 1) * d : (code - (1 << (format.bits - 1))) * d;
  }
};

TestWeight make_weight(const LowBitFormat& format, uint32_t rows, uint32_t cols, std::mt19937& random) {
  TestWeight w{format, rows, cols, {}, {}, {}, format.group == 0 ? 1 : (cols + format.group - 1) / format.group, nullptr};
  std::normal_distribution<float> normal;
  const auto half = [&](float v) { return format.group == 0 ? v : f16_to_f32(f32_to_f16(v)); };
  for (uint32_t i = 0; i < rows * cols; ++i) w.codes.push_back(static_cast<uint8_t>(random() % (1u << format.bits)));
  for (uint32_t i = 0; i < rows * w.groups; ++i) {
    w.scales.push_back(half(0.02f * (1.0f + 0.3f * normal(random))));
    w.offsets.push_back(format.offset == Offset::kZero ? static_cast<float>(random() % (1u << format.bits)) : half(-0.02f * static_cast<float>((1 << format.bits) - 1) / 2));
  }
  w.packed = std::make_unique<Guarded>(low_bit_packed_size(format, rows, cols));
  pack_low_bit({format, rows, cols, w.codes.data(), w.scales.data(), format.offset == Offset::kNone ? nullptr : w.offsets.data()}, w.packed->bytes());
  return w;
}

std::vector<float> random_rows(uint32_t n, uint32_t cols, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> x(size_t{n} * cols);
  for (float& v : x) v = normal(random);
  return x;
}

std::string describe(const LowBitKernel& kernel, const LowBitFormat& format, uint32_t rows, uint32_t cols, uint32_t n) {
  return std::string(kernel.name) + " w" + std::to_string(format.bits) + "g" + std::to_string(format.group) + " offset " + std::to_string(static_cast<int>(format.offset)) + " [" +
         std::to_string(rows) + ", " + std::to_string(cols) + "] n " + std::to_string(n);
}

const LowBitKernel& reference_of(Family family) {
  for (const LowBitKernel& kernel : low_bit_kernels()) {
    if (kernel.family == family && kernel.isa == Isa::kPortable) return kernel;
  }
  throw std::logic_error("no reference");
}

AlignedBuffer prepared(const LowBitKernel& kernel, const std::vector<float>& x, uint32_t n, uint32_t cols) {
  AlignedBuffer buffer(kernel.prepared_size(n, cols));
  kernel.prepare(x.data(), cols, n, cols, buffer.data());
  return buffer;
}

std::vector<int32_t> sums(const LowBitKernel& kernel, const TestWeight& w, const AlignedBuffer& x, uint32_t row, uint32_t tile) {
  std::vector<int32_t> out(size_t{chunks_of(w.cols)} * kTileRows);
  kernel.accumulators(w.view(), x.data(), row, tile, out.data());
  return out;
}

std::vector<LowBitFormat> formats() {
  std::vector<LowBitFormat> all;
  for (uint8_t bits = 1; bits <= 4; ++bits) {
    for (const uint32_t group : kGroups) {
      for (const Offset offset : {Offset::kNone, Offset::kMinimum, Offset::kZero}) all.push_back({bits, group, offset});
    }
  }
  return all;
}

TEST(LowBitFormat, CodesGoThereAndBack) {
  std::vector<uint32_t> seen;
  for (const LowBitFormat& format : formats()) {
    EXPECT_EQ(low_bit_format(weight_type(format)), format);
    seen.push_back(static_cast<uint32_t>(weight_type(format)));
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(seen.front(), 32u);
  EXPECT_EQ(seen.back(), 79u);
  EXPECT_FALSE(low_bit_format(WeightType::kQ4_1));
  EXPECT_FALSE(low_bit_format(static_cast<WeightType>(80)));
}

TEST(LowBitPack, GivesEveryValueBack) {
  std::mt19937 random(1);
  for (const LowBitFormat& format : formats()) {
    for (const auto& [rows, cols] : {std::pair{1u, 1u}, {16u, 32u}, {17u, 96u}, {33u, 200u}, {5u, 576u}}) {
      const TestWeight w = make_weight(format, rows, cols, random);
      std::vector<float> row(cols);
      for (uint32_t r = 0; r < rows; ++r) {
        dequantize_low_bit_row(w.view(), r, row.data());
        for (uint32_t c = 0; c < cols; ++c) ASSERT_EQ(row[c], static_cast<float>(w.value(r, c))) << describe(low_bit_kernels()[0], format, rows, cols, 0) << " " << r << ", " << c;
      }
    }
  }
}

/// One random case of a kernel: its prepared form and its int32 sums against the reference of the family, its products against doubles.
void check_case(const LowBitKernel& kernel, const LowBitFormat& format, std::mt19937& random) {
  const uint32_t rows = 1 + random() % 70, cols = 1 + random() % (random() % 8 == 0 ? 1500 : 300), n = 1 + random() % (random() % 16 == 0 ? 40 : 8);
  const std::string name = describe(kernel, format, rows, cols, n);
  const TestWeight w = make_weight(format, rows, cols, random);
  const std::vector<float> x = random_rows(n, cols, random);
  const LowBitKernel& reference = reference_of(kernel.family);
  const AlignedBuffer own = prepared(kernel, x, n, cols), expected = prepared(reference, x, n, cols);
  const uint32_t row = random() % n;
  for (uint32_t tile = 0; tile < tile_count(rows); ++tile) ASSERT_EQ(sums(kernel, w, own, row, tile), sums(reference, w, expected, row, tile)) << name << " tile " << tile;

  const size_t stride = rows + 3;
  std::vector<float> y(n * stride, -12345.0f);
  const uint32_t cut = random() % (tile_count(rows) + 1);
  kernel.run(w.view(), own.data(), n, 0, cut, y.data(), stride);
  kernel.run(w.view(), own.data(), n, cut, tile_count(rows), y.data(), stride);
  std::vector<double> values;
  for (uint32_t o = 0; o < rows; ++o) {
    for (uint32_t c = 0; c < cols; ++c) values.push_back(w.value(o, c));
  }
  double error = 0, scale = 0;
  for (uint32_t r = 0; r < n; ++r) {
    for (uint32_t o = 0; o < stride; ++o) {
      if (o >= rows) {
        ASSERT_EQ(y[r * stride + o], -12345.0f) << name;
        continue;
      }
      double want = 0, norm = 0;
      for (uint32_t c = 0; c < cols; ++c) {
        const double term = values[o * cols + c] * static_cast<double>(x[r * cols + c]);
        want += term;
        norm += term * term;
      }
      error += std::pow(static_cast<double>(y[r * stride + o]) - want, 2);
      scale += norm;
    }
  }
  // A row alone gives the same floats, so that guessed tokens are checked against what decoding would have computed.
  std::vector<float> alone(rows);
  const AlignedBuffer one = prepared(kernel, {x.begin() + row * cols, x.begin() + (row + 1) * cols}, 1, cols);
  kernel.run(w.view(), one.data(), 1, 0, tile_count(rows), alone.data(), rows);
  for (uint32_t o = 0; o < rows; ++o) ASSERT_EQ(alone[o], y[row * stride + o]) << name << " row " << row;
  // Against the sum of squares of the terms, which an output of few columns that cancel cannot make small.
  ASSERT_LE(error, 4e-4 * scale) << name;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kRandomCases = 200;  // instrumented references take fifty times as long
#else
constexpr uint32_t kRandomCases = kEmulated ? 1000 : 2000;
#endif

class LowBitKernels : public testing::TestWithParam<LowBitKernel> {
 protected:
  void SetUp() override {
    if (!isa_available(kernel.isa)) GTEST_SKIP() << "this machine lacks " << isa_name(kernel.isa);
  }
  const LowBitKernel& kernel = GetParam();
};

TEST_P(LowBitKernels, EqualTheirReferenceOnRandomShapes) {
  std::mt19937 random(7);
  std::vector<LowBitFormat> taken = formats();
  std::erase_if(taken, [this](const LowBitFormat& format) { return !kernel.takes(format.bits); });
  for (uint32_t i = 0; i < kRandomCases; ++i) ASSERT_NO_FATAL_FAILURE(check_case(kernel, taken[random() % taken.size()], random));
}

double nmse(const TestWeight& w, const std::vector<float>& x, const std::vector<float>& y) {
  double error = 0, power = 0;
  for (uint32_t o = 0; o < w.rows; ++o) {
    double want = 0;
    for (uint32_t c = 0; c < w.cols; ++c) want += w.value(o, c) * static_cast<double>(x[c]);
    error += std::pow(static_cast<double>(y[o]) - want, 2);
    power += want * want;
  }
  return error / power;
}

/// Columns of a weight as a weight of its own, for what an outlier's column does not explain.
double nmse_of_rest(const TestWeight& w, const std::vector<float>& x, const std::vector<float>& y, uint32_t outlier) {
  double error = 0, power = 0;
  for (uint32_t o = 0; o < w.rows; ++o) {
    double rest = 0;
    for (uint32_t c = 0; c < w.cols; ++c) rest += c == outlier ? 0 : w.value(o, c) * static_cast<double>(x[c]);
    error += std::pow(static_cast<double>(y[o]) - rest - w.value(o, outlier) * static_cast<double>(x[outlier]), 2);
    power += rest * rest;
  }
  return error / power;
}

TEST_P(LowBitKernels, AreAsExactAsEightBitActivationsAllow) {
  std::mt19937 random(11);
  for (const LowBitFormat& format : formats()) {
    if (!kernel.takes(format.bits)) continue;
    const TestWeight w = make_weight(format, 64, 4096, random);
    std::vector<float> x = random_rows(1, w.cols, random), y(w.rows);
    const AlignedBuffer plain = prepared(kernel, x, 1, w.cols);
    kernel.run(w.view(), plain.data(), 1, 0, tile_count(w.rows), y.data(), w.rows);
    EXPECT_LE(nmse(w, x, y), 1e-4) << describe(kernel, format, w.rows, w.cols, 1);
    x[1234] = 200;
    const AlignedBuffer spiked = prepared(kernel, x, 1, w.cols);
    kernel.run(w.view(), spiked.data(), 1, 0, tile_count(w.rows), y.data(), w.rows);
    EXPECT_LE(nmse_of_rest(w, x, y, 1234), 1e-3) << describe(kernel, format, w.rows, w.cols, 1) << " with an outlier";
  }
}

TEST_P(LowBitKernels, PassWhatIsNotANumberOn) {
  std::mt19937 random(13);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    const TestWeight w = make_weight({2, 64, Offset::kNone}, 20, 100, random);
    std::vector<float> x = random_rows(1, w.cols, random), y(w.rows);
    x[97] = bad;
    const AlignedBuffer buffer = prepared(kernel, x, 1, w.cols);
    kernel.run(w.view(), buffer.data(), 1, 0, tile_count(w.rows), y.data(), w.rows);
    for (const float v : y) EXPECT_FALSE(std::isfinite(v));
  }
}

INSTANTIATE_TEST_SUITE_P(All, LowBitKernels, testing::ValuesIn(low_bit_kernels().begin(), low_bit_kernels().end()), [](const auto& kernel) {
  std::string name = kernel.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

/// The tier whose kernels `isa` must get.
Isa fast_tier(Isa isa, Family family) {
  if (isa == Isa::kI8mm) return Isa::kDotprod;
  if (isa == Isa::kAvxVnni && family == Family::kLut) return Isa::kAvx2;  // VPDPBUSD is of no use there
  return isa == Isa::kAvx512Vbmi && family == Family::kDot ? Isa::kAvx512 : isa;  // nor VPERMB there
}

// Of every tier that this is built for, whether or not this machine has it: nothing falls to a slower one unseen.
TEST(LowBitRegistry, HasAFastPathForEveryFormatOnEveryTier) {
  for (const LowBitFormat& format : formats()) {
    for (const Isa isa : isas()) {
      for (const uint32_t n : {1u, 2u, 4u, 8u, 128u}) {
        const LowBitKernel& kernel = low_bit_kernel(format, isa, n);
        EXPECT_TRUE(kernel.takes(format.bits)) << kernel.name;
        EXPECT_TRUE(isa_includes(isa, kernel.isa)) << kernel.name << " runs on " << isa_name(isa);
        EXPECT_EQ(kernel.isa, fast_tier(isa, kernel.family)) << kernel.name << " runs on " << isa_name(isa);
      }
    }
  }
}

}  // namespace
}  // namespace lutra::kernels
