// Every tier of the row-wise steps against formulas in double.
#include "kernels/ops/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/f16.h"

namespace lutra::kernels {
namespace {

constexpr float kGuard = -12345.678f;

/// Floats at an odd address with guards behind them: kernels must neither ask for alignment nor write beyond the end.
class Row {
 public:
  explicit Row(size_t count) : storage_(AlignedBuffer::of<float>(count + 33)), count_(count) {
    for (float& x : storage_.as<float>()) x = kGuard;
  }
  float* data() { return storage_.as<float>().data() + 1; }
  std::span<float> span() { return {data(), count_}; }
  float operator[](size_t i) const { return storage_.as<const float>()[i + 1]; }
  bool guarded() const {
    const auto all = storage_.as<const float>();
    return all[0] == kGuard && std::all_of(all.begin() + 1 + static_cast<ptrdiff_t>(count_), all.end(), [](float x) { return x == kGuard; });
  }

 private:
  AlignedBuffer storage_;
  size_t count_;
};

std::vector<float> normal(size_t count, uint32_t seed, float sigma = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution(0, sigma);
  std::vector<float> out(count);
  for (float& x : out) x = distribution(random);
  return out;
}

std::vector<uint16_t> halves(const std::vector<float>& values) {
  std::vector<uint16_t> out(values.size());
  std::transform(values.begin(), values.end(), out.begin(), f32_to_f16);
  return out;
}

/// Squared error relative to the squared reference.
double nmse(std::span<const float> actual, std::span<const double> expected) {
  double error = 0, power = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    power += expected[i] * expected[i];
  }
  return error / power;
}

class Ops : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override {
    ops_ = &op_kernels()[GetParam()];
    if (!isa_available(ops_->isa)) GTEST_SKIP() << "this processor lacks " << ops_->name;
  }
  const OpKernels* ops_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Tiers, Ops, ::testing::Range<size_t>(0, op_kernels().size()), [](const auto& tier) { return std::string(op_kernels()[tier.param].name); });

TEST_P(Ops, RmsNorm) {
  for (uint32_t cols : {1u, 2u, 7u, 8u, 15u, 16u, 17u, 31u, 33u, 63u, 64u, 65u, 576u, 577u, 1536u, 4099u}) {
    for (float sigma : {1e-3f, 1.0f, 3e3f}) {
      const uint32_t n = 3;
      std::vector<float> x = normal(n * cols, cols, sigma), gain = normal(cols, cols + 1);
      x[cols] = sigma * 200;  // the second row has an outlier, as residual streams do
      Row y(n * cols);
      ops_->rms_norm(x.data(), gain.data(), 1e-5f, n, cols, y.data());
      ASSERT_TRUE(y.guarded());
      for (uint32_t r = 0; r < n; ++r) {
        double sum = 0;
        for (uint32_t i = 0; i < cols; ++i) sum += static_cast<double>(x[r * cols + i]) * x[r * cols + i];
        const double scale = 1 / std::sqrt(sum / cols + static_cast<double>(1e-5f));
        for (uint32_t i = 0; i < cols; ++i) {
          const double expected = x[r * cols + i] * scale * gain[i];
          ASSERT_NEAR(y[r * cols + i], expected, 5e-7 * std::abs(expected)) << cols << " " << sigma;
        }
      }
    }
  }
}

TEST_P(Ops, RmsNormOfZerosIsZero) {
  std::vector<float> x(70, 0.0f), gain(70, 2.0f), y(70, 1.0f);
  ops_->rms_norm(x.data(), gain.data(), 1e-5f, 1, 70, y.data());
  for (float v : y) EXPECT_EQ(v, 0.0f);
}

TEST_P(Ops, Rope) {
  for (bool interleaved : {false, true}) {
    for (uint32_t dim : {2u, 4u, 6u, 16u, 30u, 64u, 80u, 128u, 160u}) {
      const uint32_t n = 3, heads = 5, half = dim / 2;
      const std::vector<float> x = normal(n * heads * dim, dim);
      std::vector<float> table(n * dim);
      for (uint32_t r = 0; r < n; ++r) {
        for (uint32_t i = 0; i < half; ++i) {
          const double angle = (r * 37.0 + 5) * std::pow(10000.0, -2.0 * i / dim);
          table[r * dim + i] = static_cast<float>(std::cos(angle));
          table[r * dim + half + i] = static_cast<float>(std::sin(angle));
        }
      }
      Row y(x.size());
      ops_->rope(x.data(), table.data(), n, heads, dim, interleaved, y.data());
      ASSERT_TRUE(y.guarded());
      for (uint32_t r = 0; r < n; ++r) {
        for (uint32_t h = 0; h < heads; ++h) {
          for (uint32_t i = 0; i < half; ++i) {
            const size_t row = (r * heads + h) * dim;
            const size_t at = row + (interleaved ? 2 * i : i), other = row + (interleaved ? 2 * i + 1 : i + half);
            const double a = x[at], b = x[other], c = table[r * dim + i], s = table[r * dim + half + i];
            ASSERT_NEAR(y[at], a * c - b * s, 2e-7 * (std::abs(a) + std::abs(b)));
            ASSERT_NEAR(y[other], a * s + b * c, 2e-7 * (std::abs(a) + std::abs(b)));
          }
        }
      }
      std::vector<float> in_place = x;
      ops_->rope(in_place.data(), table.data(), n, heads, dim, interleaved, in_place.data());
      EXPECT_TRUE(std::equal(in_place.begin(), in_place.end(), y.span().begin()));
    }
  }
}

TEST_P(Ops, SiluMul) {
  std::vector<float> gate;
  for (double x = -90; x < 90; x += 0.00731) gate.push_back(static_cast<float>(x));
  for (float x : {0.0f, -0.0f, 1e-30f, -1e-30f, 88.5f, 90.0f, 1e4f, 1e30f}) gate.push_back(x);
  for (size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{9}, size_t{17}, gate.size()}) {
    const std::vector<float> up = normal(gate.size(), 3);
    Row y(count);
    ops_->silu_mul(gate.data(), up.data(), count, y.data());
    ASSERT_TRUE(y.guarded());
    for (size_t i = 0; i < count; ++i) {
      const double g = gate[i], expected = g / (1 + std::exp(-g)) * up[i];
      // Where e^−x is not a float any more the true result is below 1e−35.
      ASSERT_NEAR(y[i], expected, 4e-7 * std::abs(expected) + 1e-35) << g;
    }
  }
  const float far[3] = {-100.0f, -1e4f, -1e30f}, ones[3] = {1, 1, 1};
  float y[3];
  ops_->silu_mul(far, ones, 3, y);
  for (float v : y) EXPECT_NEAR(v, 0.0f, 1e-35f);
  const float nan[1] = {std::nanf("")};
  ops_->silu_mul(nan, ones, 1, y);
  EXPECT_TRUE(std::isnan(y[0]));
}

TEST_P(Ops, ReluMul) {
  for (size_t count : {size_t{0}, size_t{1}, size_t{7}, size_t{9}, size_t{17}, size_t{576}}) {
    const std::vector<float> gate = normal(count, 5), up = normal(count, 6, 10);
    Row y(count);
    ops_->relu_mul(gate.data(), up.data(), count, y.data());
    ASSERT_TRUE(y.guarded());
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(y[i], gate[i] > 0 ? gate[i] * up[i] : 0) << gate[i];
  }
  const float nan[1] = {std::nanf("")}, one[1] = {1};
  float y[1];
  ops_->relu_mul(nan, one, 1, y);
  EXPECT_TRUE(std::isnan(y[0]));
}

TEST_P(Ops, Add) {
  for (size_t count : {size_t{0}, size_t{1}, size_t{8}, size_t{15}, size_t{100}, size_t{577}}) {
    const std::vector<float> a = normal(count, 1), b = normal(count, 2, 100);
    Row y(count);
    ops_->add(a.data(), b.data(), count, y.data());
    ASSERT_TRUE(y.guarded());
    for (size_t i = 0; i < count; ++i) ASSERT_EQ(y[i], a[i] + b[i]);
  }
}

TEST_P(Ops, HalfToFloatExhaustive) {
  std::vector<uint16_t> x(65536 + 5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i);
  Row y(x.size());
  ops_->f16_to_f32(x.data(), x.size(), y.data());
  ASSERT_TRUE(y.guarded());
  for (size_t i = 0; i < x.size(); ++i) {
    const float expected = f16_to_f32(x[i]);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(y[i])) << i;
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(y[i]), std::bit_cast<uint32_t>(expected)) << i;
    }
  }
}

TEST_P(Ops, FloatToHalfRoundsTiesToEven) {
  std::vector<float> x;
  for (uint32_t h = 0; h < 0x7c00; ++h) {
    const float low = f16_to_f32(static_cast<uint16_t>(h)), high = h + 1 == 0x7c00 ? 65536.0f : f16_to_f32(static_cast<uint16_t>(h + 1));
    const float middle = (low + high) / 2;
    for (float v : {middle, std::nextafterf(middle, 0.0f), std::nextafterf(middle, 1e30f)}) {
      x.push_back(v);
      x.push_back(-v);
    }
  }
  for (float v : {INFINITY, -INFINITY, 3e38f, std::nanf(""), 1e-40f, 0.0f, -0.0f}) x.push_back(v);
  std::vector<uint16_t> y(x.size() + 3, 0x1234);
  ops_->f32_to_f16(x.data(), x.size(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::isnan(x[i])) {
      ASSERT_GT(y[i] & 0x7fff, 0x7c00);
    } else {
      ASSERT_EQ(y[i], f32_to_f16(x[i])) << x[i];
    }
  }
  for (size_t i = x.size(); i < y.size(); ++i) ASSERT_EQ(y[i], 0x1234);
}

// --- attention --------------------------------------------------------------------------------------------------------------------

struct Case {
  uint32_t dim, group, kv_heads, rows, first_length;
};

/// Keys or values in 8 bits with the scales of one head, and what they stand for.
struct Bytes {
  Bytes(size_t positions, size_t visible, size_t stride, uint32_t seed) : codes(positions * stride), scales(positions, std::nanf("")), real(codes.size()) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> scale(0.002f, 0.03f);
    for (size_t p = 0; p < visible; ++p) scales[p] = scale(random);
    for (size_t i = 0; i < codes.size(); ++i) {
      codes[i] = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
      real[i] = static_cast<float>(codes[i]) * scales[i / stride];
    }
  }
  std::vector<int8_t> codes;
  std::vector<float> scales, real;
};

/// Inputs of one attention case; K and V behind the visible positions are NaN, so that reading them shows.
struct Inputs {
  Inputs(const Case& c, uint32_t seed, float sigma)
      : kv_stride(size_t{c.kv_heads} * c.dim), q_stride(size_t{c.group} * c.kv_heads * c.dim), length(c.first_length + c.rows - 1),
        k8(length + 3, length, kv_stride, seed + 3), v8(length + 3, length, kv_stride, seed + 4) {
    const size_t positions = length + 3;
    q = normal(c.rows * q_stride, seed, sigma);
    k = halves(normal(positions * kv_stride, seed + 1));
    v = halves(normal(positions * kv_stride, seed + 2));
    for (size_t i = length * kv_stride; i < k.size(); ++i) k[i] = v[i] = 0x7e00;
    kf.resize(k.size());
    vf.resize(v.size());
    std::transform(k.begin(), k.end(), kf.begin(), f16_to_f32);
    std::transform(v.begin(), v.end(), vf.begin(), f16_to_f32);
  }
  CachedHead<uint16_t> halves_of(size_t at) const { return {k.data() + at, v.data() + at, kv_stride}; }
  CachedHead<float> floats_of(size_t at) const { return {kf.data() + at, vf.data() + at, kv_stride}; }
  CachedHead<int8_t> bytes_of(size_t at) const { return {k8.codes.data() + at, v8.codes.data() + at, kv_stride, k8.scales.data(), v8.scales.data()}; }
  size_t kv_stride, q_stride;
  uint32_t length;
  Bytes k8, v8;
  std::vector<float> q, kf, vf;
  std::vector<uint16_t> k, v;
};

std::vector<double> attention(const float* q, const float* k, const float* v, size_t stride, uint32_t dim, uint32_t length, double scale) {
  std::vector<double> scores(length), y(dim, 0.0);
  double largest = -INFINITY, sum = 0;
  for (uint32_t p = 0; p < length; ++p) {
    for (uint32_t i = 0; i < dim; ++i) scores[p] += static_cast<double>(q[i]) * k[p * stride + i];
    scores[p] *= scale;
    largest = std::max(largest, scores[p]);
  }
  for (double& s : scores) sum += s = std::exp(s - largest);
  for (uint32_t p = 0; p < length; ++p) {
    for (uint32_t i = 0; i < dim; ++i) y[i] += scores[p] / sum * v[p * stride + i];
  }
  return y;
}

TEST_P(Ops, AttendOneRow) {
  uint32_t group = 0;
  for (uint32_t dim : {1u, 4u, 8u, 12u, 24u, 40u, 64u, 65u, 80u, 96u, 128u, 200u, 256u}) {
    for (uint32_t length : {1u, 2u, 7u, 8u, 9u, 15u, 16u, 17u, 63u, 65u, 200u, 511u}) {
      for (float sigma : {1.0f, 12.0f}) {
        group = group % 9 + 1;
        const std::string what = "dim " + std::to_string(dim) + " group " + std::to_string(group) + " length " + std::to_string(length);
        const Inputs in({dim, group, 3, 1, length}, dim * 1000 + length, sigma);
        const float scale = 1 / std::sqrt(static_cast<float>(dim));
        const size_t head = 2 * dim, q = head * group;  // the last of three heads
        const auto check = [&](const auto& attend, const std::vector<float>& k, const std::vector<float>& v) {
          Row y(size_t{dim} * group), scratch(attend_scratch(group, length));
          attend(in.q.data() + q, dim, group, length, scale, scratch.data(), y.data());
          ASSERT_TRUE(y.guarded() && scratch.guarded()) << what;
          for (uint32_t g = 0; g < group; ++g) {
            const auto expected = attention(in.q.data() + q + size_t{g} * dim, k.data() + head, v.data() + head, in.kv_stride, dim, length, scale);
            ASSERT_LT(nmse(y.span().subspan(size_t{g} * dim, dim), expected), 3e-11) << what << " head " << g;
          }
        };
        check([&](const float* from, auto... rest) { ops_->attend_f16(from, in.halves_of(head), rest...); }, in.kf, in.vf);
        check([&](const float* from, auto... rest) { ops_->attend_f32(from, in.floats_of(head), rest...); }, in.kf, in.vf);
        check([&](const float* from, auto... rest) { ops_->attend_i8(from, in.bytes_of(head), rest...); }, in.k8.real, in.v8.real);
      }
    }
  }
}

TEST_P(Ops, AttendBlockEqualsRows) {
  std::vector<Case> cases;
  for (uint32_t dim : {8u, 16u, 40u, 64u, 72u, 80u, 96u, 128u, 200u}) cases.push_back({dim, 3, 2, 32, 130});
  for (uint32_t group : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 16u}) {
    for (uint32_t rows : {1u, 2u, 17u, 31u, 32u}) cases.push_back({64, group, 1, rows, 1 + group * rows % 70});
  }
  for (uint32_t first : {1u, 2u, 31u, 32u, 33u, 63u, 64u, 65u, 96u, 97u, 127u, 128u, 129u, 480u}) cases.push_back({64, 3, 3, 32, first});
  cases.push_back({10, 2, 2, 5, 70});  // a head dimension that is no multiple of 8
  for (const Case& c : cases) {
    const std::string what = "dim " + std::to_string(c.dim) + " group " + std::to_string(c.group) + " rows " + std::to_string(c.rows) + " first " + std::to_string(c.first_length);
    const Inputs in(c, c.dim + c.group * 7 + c.rows * 11 + c.first_length, 3.0f);
    const float scale = 1 / std::sqrt(static_cast<float>(c.dim));
    const size_t kv_head = size_t{c.kv_heads - 1} * c.dim, q_head = kv_head * c.group;
    const size_t y_stride = in.q_stride + 5;
    const auto check = [&](const char* type, const auto& block, const std::vector<float>& k, const std::vector<float>& v) {
      Row y(c.rows * y_stride), scratch(attend_block_scratch(c.dim, c.group, c.rows, in.length));
      block(in.q.data() + q_head, scratch.data(), y.data() + q_head);
      ASSERT_TRUE(y.guarded() && scratch.guarded()) << type << " " << what;
      size_t untouched = 0;
      for (float value : y.span()) untouched += value == kGuard;
      ASSERT_EQ(untouched, c.rows * (y_stride - size_t{c.group} * c.dim)) << type << " " << what;
      for (uint32_t r = 0; r < c.rows; ++r) {
        for (uint32_t g = 0; g < c.group; ++g) {
          const size_t at = q_head + size_t{g} * c.dim;
          const auto expected = attention(in.q.data() + r * in.q_stride + at, k.data() + kv_head, v.data() + kv_head, in.kv_stride, c.dim, c.first_length + r, scale);
          ASSERT_LT(nmse(y.span().subspan(r * y_stride + at, c.dim), expected), 3e-11) << type << " " << what << " row " << r << " head " << g;
        }
      }
    };
    check("f16", [&](const float* q, float* scratch, float* y) {
      ops_->attend_block_f16(q, in.q_stride, in.halves_of(kv_head), c.dim, c.group, c.rows, c.first_length, scale, scratch, y, y_stride);
    }, in.kf, in.vf);
    check("i8", [&](const float* q, float* scratch, float* y) {
      ops_->attend_block_i8(q, in.q_stride, in.bytes_of(kv_head), c.dim, c.group, c.rows, c.first_length, scale, scratch, y, y_stride);
    }, in.k8.real, in.v8.real);
  }
}

TEST_P(Ops, AttentionIsCausalToThePosition) {
  // Changing position p changes rows from p on and no row before it.
  const Case c{64, 3, 1, 32, 40};
  Inputs in(c, 5, 1.0f);
  std::vector<float> before(c.rows * in.q_stride), after(before.size()), scratch(attend_block_scratch(c.dim, c.group, c.rows, in.length));
  const auto run = [&](std::vector<float>& y) {
    ops_->attend_block_f16(in.q.data(), in.q_stride, in.halves_of(0), c.dim, c.group, c.rows, c.first_length, 0.125f, scratch.data(), y.data(), in.q_stride);
  };
  run(before);
  for (uint32_t row : {1u, 9u, 31u}) {
    const uint32_t position = c.first_length + row - 1;  // the newest position that `row` sees
    const std::vector<uint16_t> kept = in.v;
    for (uint32_t i = 0; i < c.dim; ++i) in.v[position * in.kv_stride + i] ^= 0x8000;
    run(after);
    for (uint32_t r = 0; r < c.rows; ++r) {
      const bool equal = std::equal(before.begin() + static_cast<ptrdiff_t>(r * in.q_stride), before.begin() + static_cast<ptrdiff_t>((r + 1) * in.q_stride),
                                    after.begin() + static_cast<ptrdiff_t>(r * in.q_stride));
      ASSERT_EQ(equal, r < row) << r;
    }
    in.v = kept;
  }
}

TEST_P(Ops, SoftmaxSurvivesLargeScores) {
  // Scores around ±3000 and a first tile that is far below the second: naive exponentials would overflow, a running maximum must not lose mass.
  const uint32_t dim = 64, length = 150;
  std::vector<float> q(dim, 1.0f);
  std::vector<uint16_t> k(length * dim), v(length * dim);
  for (uint32_t p = 0; p < length; ++p) {
    for (uint32_t i = 0; i < dim; ++i) {
      k[p * dim + i] = f32_to_f16(p < 100 ? -48.0f : 48.0f);
      v[p * dim + i] = f32_to_f16(p < 100 ? 1000.0f : static_cast<float>(i));
    }
  }
  std::vector<float> y(dim), scratch(attend_block_scratch(dim, 1, 1, length));
  const CachedHead<uint16_t> head{k.data(), v.data(), dim};
  ops_->attend_block_f16(q.data(), dim, head, dim, 1, 1, length, 1.0f, scratch.data(), y.data(), dim);
  for (uint32_t i = 0; i < dim; ++i) EXPECT_NEAR(y[i], i, 1e-4);
  ops_->attend_f16(q.data(), head, dim, 1, length, 1.0f, scratch.data(), y.data());
  for (uint32_t i = 0; i < dim; ++i) EXPECT_NEAR(y[i], i, 1e-4);
}

// --- quantisation -----------------------------------------------------------------------------------------------------------------

const Encoding kEncodings[] = {
    {0.02f, -128, 0, 255}, {0.0173f, 0, 0, 255}, {0.031f, -7, 0, 255}, {0.25f, 0, -128, 127}, {0.0371f, 13, -128, 127}, {1e-4f, -30000, 0, 65535}, {0.5f, 0, 0, 65535}, {3e-3f, -65535, 0, 65535},
};

/// From the definition, in double; x / scale is a float division by contract.
int64_t quantized(float x, const Encoding& e) {
  const float ratio = x / e.scale;
  if (std::isnan(ratio)) return std::clamp<int64_t>(-e.offset, e.lo, e.hi);
  const double q = std::nearbyint(static_cast<double>(ratio)) - e.offset;
  return static_cast<int64_t>(std::clamp(q, static_cast<double>(e.lo), static_cast<double>(e.hi)));
}

TEST_P(Ops, QuantizeAndDequantize) {
  for (const Encoding& e : kEncodings) {
    std::vector<float> x = normal(3000, 11, e.scale * static_cast<float>(e.hi - e.lo) / 4);
    for (int i = -400; i < 400; ++i) x.push_back((static_cast<float>(i) + 0.5f) * e.scale);  // ties, exact where the scale is a power of two
    for (float v : {0.0f, -0.0f, INFINITY, -INFINITY, std::nanf(""), -std::nanf(""), 3e38f, -3e38f, 1e-42f, 1e9f, -1e9f}) x.push_back(v);
    for (size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{8}, size_t{17}, x.size()}) {
      const float* from = x.data() + (x.size() - count);  // the special values are in every length
      const std::string what = "scale " + std::to_string(e.scale) + " offset " + std::to_string(e.offset) + " count " + std::to_string(count);
      Row back(count);
      if (e.hi <= 255) {
        std::vector<uint8_t> q(count + 3, 0x5a);
        ops_->quantize_u8(from, count, e, q.data());
        for (size_t i = 0; i < count; ++i) ASSERT_EQ(e.lo < 0 ? static_cast<int8_t>(q[i]) : q[i], quantized(from[i], e)) << what << " x " << from[i];
        for (size_t i = count; i < q.size(); ++i) ASSERT_EQ(q[i], 0x5a) << what;
        ops_->dequantize_8(q.data(), count, e, back.data());
      } else {
        std::vector<uint16_t> q(count + 3, 0x5a5a);
        ops_->quantize_u16(from, count, e, q.data());
        for (size_t i = 0; i < count; ++i) ASSERT_EQ(q[i], quantized(from[i], e)) << what << " x " << from[i];
        for (size_t i = count; i < q.size(); ++i) ASSERT_EQ(q[i], 0x5a5a) << what;
        ops_->dequantize_16(q.data(), count, e, back.data());
      }
      ASSERT_TRUE(back.guarded());
      for (size_t i = 0; i < count; ++i) ASSERT_EQ(back[i], static_cast<float>(quantized(from[i], e) + e.offset) * e.scale) << what;
    }
  }
}

TEST_P(Ops, QuantizeRowsByTheirLargestMagnitude) {
  for (uint32_t cols : {1u, 3u, 8u, 15u, 16u, 24u, 64u, 65u, 80u, 128u, 200u}) {
    std::vector<float> x = normal(9 * cols, cols, 3.0f);
    std::fill_n(x.begin() + cols, cols, 0.0f);
    for (uint32_t i = 0; i < cols; ++i) x[2 * cols + i] *= 1e-30f;
    x[3 * cols + cols / 2] = -1e6f;
    x[4 * cols] = x[5 * cols - 1] = std::nanf("");
    x[6 * cols - 1] = INFINITY;
    for (uint32_t i = 0; i < cols; ++i) x[6 * cols + i] = i % 2 == 0 ? 127.0f : static_cast<float>(i) + 0.5f;  // scale 1: ties
    std::vector<int8_t> y(9 * cols + 5, 0x5a);
    Row scales(9);
    ops_->quantize_rows(x.data(), 9, cols, y.data(), scales.data());
    ASSERT_TRUE(scales.guarded());
    for (size_t i = 9 * cols; i < y.size(); ++i) ASSERT_EQ(y[i], 0x5a) << cols;
    for (uint32_t r = 0; r < 9; ++r) {
      float largest = 0;
      for (uint32_t i = 0; i < cols; ++i) largest = std::isnan(x[r * cols + i]) ? largest : std::max(largest, std::fabs(x[r * cols + i]));
      ASSERT_EQ(scales[r], largest / 127.0f) << cols << " row " << r;
      for (uint32_t i = 0; i < cols; ++i) ASSERT_EQ(y[r * cols + i], quantized(x[r * cols + i], {scales[r], 0, -127, 127})) << cols << " row " << r << " column " << i;
    }
  }
}

TEST_P(Ops, QuantizeTiesGoToEven) {
  const Encoding e{2.0f, -10, 0, 255};
  const float x[] = {1, 3, 5, 7, -1, -3, -5, 4.9999995f, 5.0000005f};  // halves: .5 1.5 2.5 3.5 −.5 −1.5 −2.5
  const uint8_t expected[] = {10, 12, 12, 14, 10, 8, 8, 12, 13};
  uint8_t q[9];
  ops_->quantize_u8(x, 9, e, q);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(q[i], expected[i]) << x[i];
}

TEST_P(Ops, DequantizeReadsEveryCode) {
  std::vector<uint8_t> bytes(256);
  std::vector<uint16_t> words(65536);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  for (size_t i = 0; i < words.size(); ++i) words[i] = static_cast<uint16_t>(i);
  std::vector<float> y(65536);
  ops_->dequantize_8(bytes.data(), 256, {0.5f, -3, 0, 255}, y.data());
  for (int i = 0; i < 256; ++i) ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<float>(i - 3) * 0.5f);
  ops_->dequantize_8(bytes.data(), 256, {0.5f, -3, -128, 127}, y.data());
  for (int i = 0; i < 256; ++i) ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<float>((i < 128 ? i : i - 256) - 3) * 0.5f);
  ops_->dequantize_16(words.data(), 65536, {0.1f, -65535, 0, 65535}, y.data());
  for (int i = 0; i < 65536; ++i) ASSERT_EQ(y[static_cast<size_t>(i)], static_cast<float>(i - 65535) * 0.1f);
}

}  // namespace
}  // namespace lutra::kernels
