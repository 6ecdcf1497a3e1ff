// Every tier of the linear kernels against plain arithmetic in double and in integers, and against the portable tier bit by bit.
#include "kernels/linear/linear.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/f16.h"
#include "tiers_of.h"

namespace lutra::kernels {
namespace {

using Bytes = std::vector<std::byte>;

constexpr WeightType kTypes[] = {WeightType::kF32, WeightType::kF16, WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0};
constexpr WeightType kQuantised[] = {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0};

const char* type_name(WeightType type) {
  switch (type) {
    case WeightType::kF32: return "f32";
    case WeightType::kF16: return "f16";
    case WeightType::kQ4_0: return "q4_0";
    case WeightType::kQ4_1: return "q4_1";
    case WeightType::kQ8_0: return "q8_0";
  }
  return "?";
}

bool is_quantised(WeightType type) { return type != WeightType::kF32 && type != WeightType::kF16; }

struct Shape {
  uint32_t rows, cols;
};

/// What makes the codes and scales of a test weight.
struct Fill {
  int constant_code = -1;      // −1: random codes
  bool unit_scale = false;     // d = 1, m = −3
};

/// A weight as ggml stores it, its packed form, and its values as computed here from the definition of the ggml types.
struct TestWeight {
  WeightType type;
  Shape shape;
  Bytes ggml, packed;
  std::vector<float> values;   // [rows, cols]
  std::vector<int> codes;      // as stored: 0…15, or −128…127
  std::vector<float> d, m;     // per block of 32

  PackedWeight view() const { return {type, shape.rows, shape.cols, packed.data()}; }
};

void append(Bytes& bytes, const void* data, size_t size) {
  const auto* p = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), p, p + size);
}

void append_half(Bytes& bytes, float value) {
  const uint16_t half = f32_to_f16(value);
  append(bytes, &half, 2);
}

void append_block(TestWeight& w, std::mt19937& random, const Fill& fill) {
  const bool eight = w.type == WeightType::kQ8_0;
  std::normal_distribution<float> normal;
  const float d = fill.unit_scale ? 1.0f : f16_to_f32(f32_to_f16(0.02f * normal(random)));
  const float m = w.type != WeightType::kQ4_1 ? 0.0f : fill.unit_scale ? -3.0f : f16_to_f32(f32_to_f16(0.1f * normal(random)));
  w.d.push_back(d);
  w.m.push_back(m);
  append_half(w.ggml, d);
  if (w.type == WeightType::kQ4_1) append_half(w.ggml, m);
  int code[32];
  for (int& c : code) {
    c = static_cast<int>(random() % (eight ? 256 : 16)) - (eight ? 128 : 0);
    if (fill.constant_code >= 0) c = eight ? static_cast<int8_t>(fill.constant_code) : fill.constant_code & 15;
    w.codes.push_back(c);
    w.values.push_back(w.type == WeightType::kQ4_0 ? static_cast<float>(c - 8) * d : std::fma(static_cast<float>(c), d, m));
  }
  for (int j = 0; j < (eight ? 32 : 16); ++j) {
    const auto byte = static_cast<uint8_t>(eight ? code[j] : code[j] | code[j + 16] << 4);
    append(w.ggml, &byte, 1);
  }
}

TestWeight make_weight(WeightType type, Shape shape, uint32_t seed, Fill fill = {}) {
  TestWeight w{type, shape, {}, {}, {}, {}, {}, {}};
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  if (is_quantised(type)) {
    for (uint32_t i = 0; i < shape.rows * shape.cols / 32; ++i) append_block(w, random, fill);
  } else {
    for (uint32_t i = 0; i < shape.rows * shape.cols; ++i) {
      float v = 0.05f * normal(random);
      if (type == WeightType::kF16) {
        append_half(w.ggml, v);
        v = f16_to_f32(f32_to_f16(v));
      } else {
        append(w.ggml, &v, 4);
      }
      w.values.push_back(v);
    }
  }
  w.packed.resize(packed_size(type, shape.rows, shape.cols), std::byte{0xee});
  pack_ggml(type, w.ggml.data(), shape.rows, shape.cols, w.packed);
  return w;
}

std::vector<float> random_rows(uint32_t n, uint32_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n) * cols);
  for (float& v : x) v = normal(random) * (random() % 50 == 0 ? 20.0f : 1.0f);
  return x;
}

constexpr float kUntouched = -12345.0f;

/// Output with a guard of 3 floats behind every row, which no kernel may touch.
struct Output {
  uint32_t n, rows;
  size_t stride;
  std::vector<float> y;
  Output(uint32_t n_, uint32_t rows_) : n(n_), rows(rows_), stride(rows_ + 3), y(n_ * stride, kUntouched) {}
  float at(uint32_t r, uint32_t o) const { return y[r * stride + o]; }
  void expect_guards() const {
    for (uint32_t r = 0; r < n; ++r) {
      for (size_t o = rows; o < stride; ++o) ASSERT_EQ(y[r * stride + o], kUntouched) << "row " << r;
    }
  }
  bool all_zero() const {
    for (uint32_t r = 0; r < n; ++r) {
      for (uint32_t o = 0; o < rows; ++o) {
        if (at(r, o) != 0.0f) return false;
      }
    }
    return true;
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

Bytes quantise(const LinearKernel& kernel, const std::vector<float>& x, uint32_t n, uint32_t cols) {
  Bytes xq(quantized_rows_size(n, cols));
  kernel.quantize_rows(x.data(), cols, n, cols, xq.data());
  return xq;
}

Output run_quantized(const LinearKernel& kernel, const TestWeight& w, const std::vector<float>& x, uint32_t n) {
  const Bytes xq = quantise(kernel, x, n, w.shape.cols);
  Output out(n, w.shape.rows);
  kernel.run_quantized(w.view(), xq.data(), n, 0, tile_count(w.shape.rows), out.y.data(), out.stride);
  return out;
}

Output run_float(const LinearKernel& kernel, const TestWeight& w, const std::vector<float>& x, uint32_t n) {
  Output out(n, w.shape.rows);
  kernel.run_float(w.view(), x.data(), w.shape.cols, n, 0, tile_count(w.shape.rows), out.y.data(), out.stride);
  return out;
}

/// Squared error against double arithmetic on `values` and `x`, relative to the energy of the summed terms: for random data that is the
/// energy of the outputs, and a single output that cancels to almost nothing does not count as an error.
double nmse(const Output& out, const TestWeight& w, const std::vector<double>& x) {
  double error = 0, energy = 0;
  for (uint32_t r = 0; r < out.n; ++r) {
    for (uint32_t o = 0; o < out.rows; ++o) {
      double sum = 0;
      for (uint32_t k = 0; k < w.shape.cols; ++k) {
        const double term = x[static_cast<size_t>(r) * w.shape.cols + k] * w.values[static_cast<size_t>(o) * w.shape.cols + k];
        sum += term;
        energy += term * term;
      }
      error += (sum - out.at(r, o)) * (sum - out.at(r, o));
    }
  }
  return energy > 0 ? error / energy : std::numeric_limits<double>::infinity();
}

/// x after quantisation to 8 bits a block, from the definition, as doubles.
std::vector<double> eight_bit(const std::vector<float>& x) {
  std::vector<double> q(x.size());
  for (size_t block = 0; block < x.size(); block += 32) {
    float maximum = 0;
    for (size_t k = 0; k < 32; ++k) maximum = std::max(maximum, std::fabs(x[block + k]));
    for (size_t k = 0; k < 32; ++k) {
      q[block + k] = maximum == 0 ? 0.0 : std::nearbyint(x[block + k] * (127.0f / maximum)) * static_cast<double>(maximum / 127.0f);
    }
  }
  return q;
}

class LinearTest : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor lacks " << isa_name(GetParam());
  }
  const LinearKernel& kernel() const { return linear_kernel(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Tiers, LinearTest, testing::ValuesIn(tiers_of(linear_kernels())), [](const auto& p) { return std::string(isa_name(p.param)); });

constexpr uint32_t kCounts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 128};

/// Of kCounts: what the doubles that a result is compared with take no more than some seconds for.
uint32_t most_rows(const Shape& shape) { return shape.rows == 576 ? (kEmulated ? 3 : 9) : kEmulated ? 9 : 128; }

TEST_P(LinearTest, FloatAgreesWithDouble) {
  for (WeightType type : kTypes) {
    for (Shape shape : {Shape{576, 576}, {49, 1536}, {16, 32}, {1, 64}, {100, 160}}) {
      const TestWeight w = make_weight(type, shape, 7);
      for (uint32_t n : kCounts) {
        if (n > most_rows(shape)) continue;
        const std::vector<float> x = random_rows(n, shape.cols, n);
        const Output out = run_float(kernel(), w, x, n);
        out.expect_guards();
        ASSERT_FALSE(out.all_zero());
        EXPECT_LT(nmse(out, w, {x.begin(), x.end()}), 1e-12) << type_name(type) << " " << shape.rows << "x" << shape.cols << " n " << n;
      }
    }
  }
}

TEST_P(LinearTest, PlainWeightsTakeAnyNumberOfColumns) {
  for (WeightType type : {WeightType::kF32, WeightType::kF16}) {
    for (Shape shape : {Shape{17, 1}, {33, 7}, {16, 15}, {48, 129}, {65, 147}, {5, 300}}) {
      const TestWeight w = make_weight(type, shape, 3);
      for (uint32_t n : {1u, 2u, 6u, 7u, 33u}) {
        const std::vector<float> x = random_rows(n, shape.cols, n + 1);
        const Output out = run_float(kernel(), w, x, n);
        out.expect_guards();
        EXPECT_LT(nmse(out, w, {x.begin(), x.end()}), 1e-12) << type_name(type) << " " << shape.rows << "x" << shape.cols << " n " << n;
      }
    }
  }
}

TEST_P(LinearTest, QuantisedAgreesWithDoubleOnTheSameCodes) {
  for (WeightType type : kQuantised) {
    for (Shape shape : {Shape{576, 576}, {49, 1536}, {16, 32}, {1, 64}, {100, 160}}) {
      const TestWeight w = make_weight(type, shape, 11);
      for (uint32_t n : kCounts) {
        if (n > most_rows(shape)) continue;
        const std::vector<float> x = random_rows(n, shape.cols, n + 5);
        const Output out = run_quantized(kernel(), w, x, n);
        out.expect_guards();
        ASSERT_FALSE(out.all_zero());
        EXPECT_LT(nmse(out, w, eight_bit(x)), 1e-12) << type_name(type) << " " << shape.rows << "x" << shape.cols << " n " << n;
      }
    }
  }
}

TEST_P(LinearTest, QuantisedEqualsThePortableTierBitForBit) {
  const LinearKernel& portable = linear_kernel(Isa::kPortable);
  for (WeightType type : kQuantised) {
    const TestWeight w = make_weight(type, {85, 576}, 13);
    for (uint32_t n : kCounts) {
      const std::vector<float> x = random_rows(n, 576, n + 9);
      ASSERT_EQ(quantise(kernel(), x, n, 576), quantise(portable, x, n, 576)) << n;
      EXPECT_TRUE(same_bits(run_quantized(kernel(), w, x, n).y, run_quantized(portable, w, x, n).y)) << type_name(type) << " n " << n;
    }
  }
}

// With unit scales and activations that are 127 somewhere in each block, every float operation is exact: the result is the integer sum.
TEST_P(LinearTest, IntegerAccumulationIsExactAtExtremeCodes) {
  struct Case {
    WeightType type;
    int code;  // −1 random
  };
  for (Case c : {Case{WeightType::kQ4_0, 0}, {WeightType::kQ4_0, 15}, {WeightType::kQ4_0, -1}, {WeightType::kQ4_1, 0}, {WeightType::kQ4_1, 15}, {WeightType::kQ4_1, -1},
                 {WeightType::kQ8_0, 0x80}, {WeightType::kQ8_0, 0x7f}, {WeightType::kQ8_0, -1}}) {
    const Shape shape{37, 576};
    const TestWeight w = make_weight(c.type, shape, 17, {c.code, true});
    for (int pattern = 0; pattern < 4; ++pattern) {
      const uint32_t n = 9;
      std::mt19937 random(pattern);
      std::vector<float> x(n * shape.cols);
      for (size_t i = 0; i < x.size(); ++i) {
        const int noise = static_cast<int>(random() % 255) - 127;
        const int value = pattern == 0 ? 127 : pattern == 1 ? -127 : pattern == 2 ? (i % 2 ? 127 : -127) : i % 32 == 0 ? -127 : noise;
        x[i] = static_cast<float>(value);
      }
      const Output out = run_quantized(kernel(), w, x, n);
      for (uint32_t r = 0; r < n; ++r) {
        for (uint32_t o = 0; o < shape.rows; ++o) {
          int64_t sum = 0;
          for (uint32_t k = 0; k < shape.cols; ++k) {
            const int code = w.codes[static_cast<size_t>(o) * shape.cols + k];
            const int value = c.type == WeightType::kQ4_0 ? code - 8 : c.type == WeightType::kQ4_1 ? code - 3 : code;
            sum += value * static_cast<int64_t>(x[static_cast<size_t>(r) * shape.cols + k]);
          }
          ASSERT_EQ(out.at(r, o), static_cast<float>(sum)) << type_name(c.type) << " code " << c.code << " pattern " << pattern << " row " << r << " output " << o;
        }
      }
    }
  }
}

// A row's result must not depend on the company it is computed in.
TEST_P(LinearTest, RowsAndTilesCanBeCutAnywhere) {
  const uint32_t n = 23;
  for (WeightType type : kTypes) {
    const Shape shape{16 * 9 + 5, 576};
    const TestWeight w = make_weight(type, shape, 19);
    const std::vector<float> x = random_rows(n, shape.cols, 23);
    const Bytes xq = quantise(kernel(), x, n, shape.cols);
    const size_t row_bytes = quantized_rows_size(1, shape.cols);
    for (bool quantised : {false, true}) {
      if (quantised && !is_quantised(type)) continue;
      const Output whole = quantised ? run_quantized(kernel(), w, x, n) : run_float(kernel(), w, x, n);
      Output cut(n, shape.rows);
      std::mt19937 random(29);
      for (uint32_t tile = 0; tile < tile_count(shape.rows);) {
        const uint32_t tiles = std::min<uint32_t>(1 + random() % 5, tile_count(shape.rows) - tile);
        for (uint32_t r = 0; r < n;) {
          const uint32_t rows = std::min<uint32_t>(1 + random() % 9, n - r);
          float* y = cut.y.data() + r * cut.stride;
          if (quantised) kernel().run_quantized(w.view(), xq.data() + r * row_bytes, rows, tile, tile + tiles, y, cut.stride);
          else kernel().run_float(w.view(), x.data() + r * shape.cols, shape.cols, rows, tile, tile + tiles, y, cut.stride);
          r += rows;
        }
        tile += tiles;
      }
      EXPECT_TRUE(same_bits(whole.y, cut.y)) << type_name(type) << (quantised ? " quantised" : " float");
    }
  }
}

TEST_P(LinearTest, StridedInputsAreRespected) {
  const Shape shape{20, 64};
  const uint32_t n = 5;
  const size_t stride = 71;
  const std::vector<float> x = random_rows(n, shape.cols, 31);
  std::vector<float> wide(n * stride, std::numeric_limits<float>::quiet_NaN());
  for (uint32_t r = 0; r < n; ++r) std::copy_n(&x[r * shape.cols], shape.cols, &wide[r * stride]);
  const TestWeight w = make_weight(WeightType::kQ4_1, shape, 37);
  Output out(n, shape.rows);
  kernel().run_float(w.view(), wide.data(), stride, n, 0, tile_count(shape.rows), out.y.data(), out.stride);
  EXPECT_TRUE(same_bits(out.y, run_float(kernel(), w, x, n).y));
  Bytes xq(quantized_rows_size(n, shape.cols));
  kernel().quantize_rows(wide.data(), stride, n, shape.cols, xq.data());
  EXPECT_EQ(xq, quantise(kernel(), x, n, shape.cols));
}

TEST_P(LinearTest, ZeroRowsGiveZeroOutputs) {
  for (WeightType type : kTypes) {
    const TestWeight w = make_weight(type, {40, 64}, 41);
    std::vector<float> x = random_rows(3, 64, 43);
    std::fill_n(x.begin() + 64, 64, 0.0f);  // the middle row
    for (bool quantised : {false, true}) {
      if (quantised && !is_quantised(type)) continue;
      const Output out = quantised ? run_quantized(kernel(), w, x, 3) : run_float(kernel(), w, x, 3);
      for (uint32_t o = 0; o < 40; ++o) {
        EXPECT_EQ(out.at(1, o), 0.0f);
        EXPECT_NE(out.at(0, o), 0.0f);
        EXPECT_NE(out.at(2, o), 0.0f);
      }
    }
    kernel().run_float(w.view(), x.data(), 64, 0, 0, 3, nullptr, 0);  // no rows: nothing to do
  }
}

TEST_P(LinearTest, HugeAndTinyActivationsSurvive) {
  const TestWeight w = make_weight(WeightType::kQ8_0, {16, 64}, 47, {3, true});
  std::vector<float> x(64);
  for (uint32_t k = 0; k < 64; ++k) x[k] = k < 32 ? 1e-30f : 1e30f;
  EXPECT_NEAR(run_quantized(kernel(), w, x, 1).at(0, 0) / (32 * 3e30), 1.0, 1e-5);
  std::fill(x.begin(), x.end(), 1e-44f);  // subnormal: too small to matter, must not become infinite
  EXPECT_EQ(run_quantized(kernel(), w, x, 1).at(0, 0), 0.0f);
  std::fill(x.begin(), x.end(), std::numeric_limits<float>::max());
  EXPECT_EQ(quantise(kernel(), x, 1, 64)[5], std::byte{127});
}

TEST_P(LinearTest, NotANumberReachesTheOutputsOfItsRowOnly) {
  const TestWeight w = make_weight(WeightType::kQ4_0, {16, 96}, 53);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x = random_rows(3, 96, 59);
    x[96 + 40] = bad;
    const Output out = run_quantized(kernel(), w, x, 3);
    for (uint32_t o = 0; o < 16; ++o) {
      EXPECT_TRUE(std::isfinite(out.at(0, o)));
      EXPECT_TRUE(std::isnan(out.at(1, o)));
      EXPECT_TRUE(std::isfinite(out.at(2, o)));
    }
  }
}

TEST_P(LinearTest, ActivationsRoundHalfToEven) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127.0f;  // scale 1
  const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 3.49f, -126.5f};
  const int expected[] = {0, 2, 2, 0, -2, -2, 3, -126};
  std::copy(std::begin(values), std::end(values), x.begin() + 1);
  const Bytes xq = quantise(kernel(), x, 1, 32);
  EXPECT_EQ(static_cast<int8_t>(xq[0]), 127);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(static_cast<int8_t>(xq[1 + i]), expected[i]) << values[i];
}

TEST_P(LinearTest, PlainWeightsHaveNoQuantisedArithmetic) {
  const TestWeight w = make_weight(WeightType::kF16, {20, 64}, 61);
  const Output out = run_quantized(kernel(), w, random_rows(2, 64, 67), 2);
  EXPECT_TRUE(std::isnan(out.at(1, 19)));
  out.expect_guards();
}

TEST(LinearPack, SizesFollowTheDocumentedLayout) {
  EXPECT_EQ(packed_size(WeightType::kQ4_0, 17, 64), 2u * 2 * 288);
  EXPECT_EQ(packed_size(WeightType::kQ4_1, 16, 64), 2u * 320);
  EXPECT_EQ(packed_size(WeightType::kQ8_0, 1, 32), 544u);
  EXPECT_EQ(packed_size(WeightType::kF32, 3, 5), 60u);
  EXPECT_EQ(packed_size(WeightType::kF16, 3, 5), 30u);
  for (WeightType type : kQuantised) EXPECT_EQ(packed_size(type, 16, 48), 0u);
  EXPECT_EQ(packed_size(WeightType::kQ8_0, 151936, 8192), size_t{9496} * 256 * 544);  // beyond 32 bits of elements
}

TEST(LinearPack, BytesAreWhereTheDocumentSays) {
  for (WeightType type : kQuantised) {
    const Shape shape{19, 96};
    const TestWeight w = make_weight(type, shape, 71);
    const bool eight = type == WeightType::kQ8_0;
    const size_t codes = eight ? 512 : 256, block_size = codes + (type == WeightType::kQ4_1 ? 64 : 32);
    for (uint32_t row = 0; row < 32; ++row) {
      for (uint32_t block = 0; block < 3; ++block) {
        const std::byte* at = w.packed.data() + (row / 16 * 3 + block) * block_size;
        for (uint32_t k = 0; k < 32; ++k) {
          const uint32_t r = row % 16, group = eight ? k / 4 : k % 16 / 4, b = k % 4;
          const auto byte = std::to_integer<uint32_t>(at[64 * group + 4 * r + b]);
          const int code = eight ? static_cast<int8_t>(byte) : static_cast<int>(k < 16 ? byte & 15 : byte >> 4);
          ASSERT_EQ(code, row < shape.rows ? w.codes[(row * 3 + block) * 32 + k] : 0) << type_name(type) << " row " << row << " k " << k;
        }
        uint16_t d;
        std::memcpy(&d, at + codes + 2 * (row % 16), 2);
        ASSERT_EQ(d, row < shape.rows ? f32_to_f16(w.d[row * 3 + block]) : 0);
        if (type != WeightType::kQ4_1) continue;
        std::memcpy(&d, at + codes + 32 + 2 * (row % 16), 2);
        ASSERT_EQ(d, row < shape.rows ? f32_to_f16(w.m[row * 3 + block]) : 0);
      }
    }
  }
}

TEST(LinearPack, RowsComeBackAsTheyWere) {
  for (WeightType type : kTypes) {
    const TestWeight w = make_weight(type, {37, 96}, 73);
    std::vector<float> row(96);
    for (uint32_t r : {0u, 1u, 15u, 16u, 31u, 36u}) {
      dequantize_row(w.view(), r, row.data());
      for (uint32_t k = 0; k < 96; ++k) ASSERT_EQ(row[k], w.values[r * 96 + k]) << type_name(type) << " row " << r << " k " << k;
    }
  }
}

}  // namespace
}  // namespace lutra::kernels
