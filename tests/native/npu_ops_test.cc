// Every tier of the host NPU's element-wise kernels against doubles, and bit for bit against the portable tier where the contract says so.
#include "kernels/npu_ops/npu_ops.h"

#include <gtest/gtest.h>

#include <algorithm>
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

constexpr Element kTypes[] = {Element::kF32, Element::kF16, Element::kU8, Element::kS8, Element::kU16, Element::kS16};
constexpr size_t kCounts[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 100, 576, 1000};
constexpr std::byte kGuard{0x5c};

const char* type_name(Element type) {
  constexpr const char* kNames[] = {"f32", "f16", "u8", "s8", "u16", "s16"};
  return kNames[static_cast<size_t>(type)];
}

Affine coding(Element type, int variant) {
  switch (type) {
    case Element::kU8: return variant == 0 ? Affine{0.031f, -128} : Affine{0.017f, -20};
    case Element::kS8: return variant == 0 ? Affine{0.029f, 0} : Affine{0.05f, 13};
    case Element::kU16: return variant == 0 ? Affine{0.00013f, -32768} : Affine{0.0002f, -10000};
    case Element::kS16: return variant == 0 ? Affine{0.00012f, 0} : Affine{0.0002f, 5000};
    default: return {};
  }
}

struct Tensor {
  Element type;
  Affine affine;
  std::vector<std::byte> data;
  size_t count;

  ConstElements in() const { return {type, affine, data.data()}; }
  Elements out() { return {type, affine, data.data()}; }

  double real(size_t i) const {
    switch (type) {
      case Element::kF32: return at<float>(i);
      case Element::kF16: return f16_to_f32(at<uint16_t>(i));
      case Element::kU8: return (at<uint8_t>(i) + affine.offset) * static_cast<double>(affine.scale);
      case Element::kS8: return (at<int8_t>(i) + affine.offset) * static_cast<double>(affine.scale);
      case Element::kU16: return (at<uint16_t>(i) + affine.offset) * static_cast<double>(affine.scale);
      case Element::kS16: return (at<int16_t>(i) + affine.offset) * static_cast<double>(affine.scale);
    }
    return 0;
  }
  int32_t code(size_t i) const {
    switch (type) {
      case Element::kU16: return at<uint16_t>(i);
      case Element::kS16: return at<int16_t>(i);
      case Element::kS8: return at<int8_t>(i);
      default: return at<uint8_t>(i);
    }
  }
  template <class T>
  T at(size_t i) const {
    T value;
    std::memcpy(&value, data.data() + i * sizeof(T), sizeof value);
    return value;
  }
};

class NpuOps : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor lacks " << isa_name(GetParam());
  }
  const NpuOpKernels& tier() const { return npu_op_kernel(GetParam()); }
  const NpuOpKernels& reference() const { return npu_op_kernels()[0]; }

  Tensor random_tensor(Element type, size_t count, int variant = 0, float spread = 1.5f) {
    Tensor t{type, coding(type, variant), std::vector<std::byte>(count * element_size(type)), count};
    std::normal_distribution<float> normal(0.0f, spread);
    for (size_t i = 0; i < count; ++i) {
      if (type == Element::kF32) {
        const float v = normal(random);
        std::memcpy(t.data.data() + i * 4, &v, 4);
      } else if (type == Element::kF16) {
        const uint16_t v = f32_to_f16(normal(random));
        std::memcpy(t.data.data() + i * 2, &v, 2);
      } else {
        for (size_t b = 0; b < element_size(type); ++b) t.data[i * element_size(type) + b] = static_cast<std::byte>(random());
      }
    }
    return t;
  }
  /// An output with guard bytes after it.
  static Tensor output(Element type, size_t count, int variant) {
    return {type, coding(type, variant), std::vector<std::byte>(count * element_size(type) + 64, kGuard), count};
  }
  static void expect_guard(const Tensor& y) {
    for (size_t i = y.count * element_size(y.type); i < y.data.size(); ++i) ASSERT_EQ(y.data[i], kGuard) << "wrote past the end";
  }
  /// Within one step (and `slack` of a step for a wanted value at a rounding border), or a relative error for floats.
  static void expect_near(const Tensor& y, size_t i, double want, double relative) {
    if (is_quantized(y.type)) {
      const double lo = (lowest_code(y.type) + y.affine.offset) * static_cast<double>(y.affine.scale), hi = (highest_code(y.type) + y.affine.offset) * static_cast<double>(y.affine.scale);
      ASSERT_LE(std::abs(y.real(i) - std::clamp(want, lo, hi)), 0.52 * static_cast<double>(y.affine.scale)) << i;
    } else {
      const double half_ulp = y.type == Element::kF16 ? std::max(std::abs(want) * 0x1p-11, 0x1p-25) : 0.0;
      ASSERT_LE(std::abs(y.real(i) - want), half_ulp * 1.01 + std::abs(want) * relative + 1e-30) << i;
    }
  }
  std::mt19937 random{99};
};

TEST_P(NpuOps, Convert) {
  for (Element from : kTypes) {
    for (Element to : kTypes) {
      for (size_t count : kCounts) {
        SCOPED_TRACE(std::string(type_name(from)) + " to " + type_name(to) + ", " + std::to_string(count));
        const Tensor x = random_tensor(from, count);
        Tensor y = output(to, count, 1), expected = output(to, count, 1);
        tier().convert(x.in(), y.out(), count);
        reference().convert(x.in(), expected.out(), count);
        ASSERT_EQ(y.data, expected.data);
        expect_guard(y);
        for (size_t i = 0; i < count; ++i) expect_near(y, i, x.real(i), 1e-7);
      }
    }
  }
}

TEST_P(NpuOps, QuantizeRoundsHalfToEvenAndSaturates) {
  const std::vector<float> values = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -2.5f, 1e30f, -1e30f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                                     std::numeric_limits<float>::quiet_NaN(), 126.5f, 127.5f, -128.5f, -129.0f, 3.0f, 40000.0f};
  const ConstElements x{Element::kF32, {}, reinterpret_cast<const std::byte*>(values.data())};
  const auto quantize = [&](Element type, Affine affine) {
    Tensor y{type, affine, std::vector<std::byte>(values.size() * element_size(type)), values.size()};
    tier().convert(x, y.out(), values.size());
    std::vector<int32_t> codes;
    for (size_t i = 0; i < values.size(); ++i) codes.push_back(y.code(i));
    return codes;
  };
  EXPECT_EQ(quantize(Element::kS8, {1.0f, 0}), (std::vector<int32_t>{0, 2, 2, 0, -2, -2, 127, -128, 127, -128, 0, 126, 127, -128, -128, 3, 127}));
  EXPECT_EQ(quantize(Element::kU8, {1.0f, -128}), (std::vector<int32_t>{128, 130, 130, 128, 126, 126, 255, 0, 255, 0, 128, 254, 255, 0, 0, 131, 255}));
  EXPECT_EQ(quantize(Element::kU16, {1.0f, -200}), (std::vector<int32_t>{200, 202, 202, 200, 198, 198, 65535, 0, 65535, 0, 200, 326, 328, 72, 71, 203, 40200}));
}

TEST_P(NpuOps, AddAndMultiply) {
  for (Element type : kTypes) {
    for (size_t count : kCounts) {
      SCOPED_TRACE(std::string(type_name(type)) + ", " + std::to_string(count));
      const Tensor a = random_tensor(type, count), b = random_tensor(type, count, 1);
      for (BinaryOp op : {BinaryOp::kAdd, BinaryOp::kMultiply}) {
        Tensor y = output(type, count, 1), expected = output(type, count, 1);
        tier().binary(op, a.in(), b.in(), y.out(), count);
        reference().binary(op, a.in(), b.in(), expected.out(), count);
        ASSERT_EQ(y.data, expected.data);
        expect_guard(y);
        for (size_t i = 0; i < count; ++i) {
          const double want = op == BinaryOp::kAdd ? a.real(i) + b.real(i) : a.real(i) * b.real(i);
          if (type == Element::kF32) {
            ASSERT_LE(std::abs(y.real(i) - want), 1e-7 * (std::abs(a.real(i)) + std::abs(b.real(i)) + std::abs(want)));
          } else {
            expect_near(y, i, want, 1e-6);
          }
        }
      }
    }
  }
}

TEST_P(NpuOps, SigmoidAndRelu) {
  for (Element type : kTypes) {
    for (size_t count : kCounts) {
      SCOPED_TRACE(std::string(type_name(type)) + ", " + std::to_string(count));
      const Tensor x = random_tensor(type, count, 0, 5.0f);
      Tensor y = output(type, count, 1), expected = output(type, count, 1);
      tier().unary(UnaryOp::kRelu, x.in(), y.out(), count);
      reference().unary(UnaryOp::kRelu, x.in(), expected.out(), count);
      ASSERT_EQ(y.data, expected.data);
      for (size_t i = 0; i < count; ++i) expect_near(y, i, std::max(0.0, x.real(i)), 1e-7);
      tier().unary(UnaryOp::kSigmoid, x.in(), y.out(), count);
      expect_guard(y);
      for (size_t i = 0; i < count; ++i) expect_near(y, i, 1.0 / (1.0 + std::exp(-x.real(i))), 3e-7);
    }
  }
}

TEST_P(NpuOps, SigmoidAtTheEnds) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> values = {0.0f, -0.0f, inf, -inf, 88.0f, -88.0f, 1000.0f, -1000.0f, 20.0f, -20.0f, std::numeric_limits<float>::quiet_NaN(), -86.5f};
  std::vector<float> y(values.size());
  tier().unary(UnaryOp::kSigmoid, {Element::kF32, {}, reinterpret_cast<const std::byte*>(values.data())}, {Element::kF32, {}, reinterpret_cast<std::byte*>(y.data())}, y.size());
  EXPECT_EQ(y[0], 0.5f);
  EXPECT_EQ(y[1], 0.5f);
  EXPECT_EQ(y[2], 1.0f);
  EXPECT_LT(y[3], 1e-37f);
  EXPECT_EQ(y[4], 1.0f);
  EXPECT_LT(y[5], 1e-37f);
  EXPECT_EQ(y[6], 1.0f);
  EXPECT_GE(y[7], 0.0f);
  EXPECT_LT(y[7], 1e-37f);
  EXPECT_NEAR(y[9] / 2.0611536e-9f, 1.0f, 1e-6f);
  EXPECT_TRUE(std::isnan(y[10]));
  EXPECT_NEAR(y[11] / std::exp(-86.5), 1.0, 1e-5);
}

TEST_P(NpuOps, RmsNorm) {
  for (Element type : kTypes) {
    for (uint32_t columns : {1u, 5u, 8u, 16u, 31u, 64u, 100u, 576u, 1536u}) {
      for (bool with_bias : {false, true}) {
        SCOPED_TRACE(std::string(type_name(type)) + ", " + std::to_string(columns));
        const Tensor x = random_tensor(type, columns);
        std::vector<float> gain(columns), bias(columns);
        for (uint32_t i = 0; i < columns; ++i) {
          gain[i] = 1.0f + 0.1f * static_cast<float>(static_cast<int>(random() % 21) - 10) / 10.0f;
          bias[i] = static_cast<float>(random() % 100) / 400.0f;
        }
        Tensor y = output(type, columns, 0);
        tier().rms_norm(x.in(), gain.data(), with_bias ? bias.data() : nullptr, 1e-5f, y.out(), columns);
        expect_guard(y);
        double squares = 0;
        for (uint32_t i = 0; i < columns; ++i) squares += x.real(i) * x.real(i);
        const double scale = 1.0 / std::sqrt(squares / columns + 1e-5);
        for (uint32_t i = 0; i < columns; ++i) {
          const double normed = x.real(i) * scale * gain[i], want = normed + (with_bias ? bias[i] : 0.0f);
          if (type == Element::kF32) {
            ASSERT_LE(std::abs(y.real(i) - want), 1e-6 * (std::abs(normed) + std::abs(want))) << i;
          } else {
            expect_near(y, i, want, 2e-6 + (with_bias ? 1e-4 : 0));
          }
        }
      }
    }
  }
}

// A row with one huge activation, as real models have: the sum of squares is beyond F16 and must not be computed there.
TEST_P(NpuOps, RmsNormOfHugeHalf) {
  std::vector<uint16_t> x(576, f32_to_f16(1.0f));
  x[100] = f32_to_f16(60000.0f);
  std::vector<float> gain(576, 1.0f);
  std::vector<uint16_t> y(576);
  tier().rms_norm({Element::kF16, {}, reinterpret_cast<const std::byte*>(x.data())}, gain.data(), nullptr, 1e-5f, {Element::kF16, {}, reinterpret_cast<std::byte*>(y.data())}, 576);
  const double huge = f16_to_f32(x[100]), scale = 1.0 / std::sqrt((huge * huge + 575.0) / 576.0 + 1e-5);
  EXPECT_NEAR(f16_to_f32(y[100]), huge * scale, 0.02);
  EXPECT_NEAR(f16_to_f32(y[0]), scale, scale * 1e-3);
}

TEST_P(NpuOps, LayerNorm) {
  for (Element type : kTypes) {
    for (uint32_t columns : {1u, 5u, 8u, 16u, 31u, 64u, 100u, 576u, 1536u}) {
      for (bool with_vectors : {false, true}) {
        SCOPED_TRACE(std::string(type_name(type)) + ", " + std::to_string(columns));
        const Tensor x = random_tensor(type, columns);
        std::vector<float> gain(columns), bias(columns);
        for (uint32_t i = 0; i < columns; ++i) {
          gain[i] = 0.9f + static_cast<float>(random() % 21) / 100.0f;
          bias[i] = static_cast<float>(random() % 100) / 400.0f;
        }
        Tensor y = output(type, columns, 0);
        tier().layer_norm(x.in(), with_vectors ? gain.data() : nullptr, with_vectors ? bias.data() : nullptr, 1e-3f, y.out(), columns);
        expect_guard(y);
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < columns; ++i) sum += x.real(i);
        const double mean = sum / columns;
        for (uint32_t i = 0; i < columns; ++i) squares += (x.real(i) - mean) * (x.real(i) - mean);
        const double scale = 1.0 / std::sqrt(squares / columns + 1e-3);
        for (uint32_t i = 0; i < columns; ++i) {
          const double normed = (x.real(i) - mean) * scale * (with_vectors ? gain[i] : 1.0f), want = normed + (with_vectors ? bias[i] : 0.0f);
          if (type == Element::kF32 || type == Element::kF16) {
            const double half_ulp = type == Element::kF16 ? std::max(std::abs(want) * 0x1p-11, 0x1p-25) : 0.0;
            ASSERT_LE(std::abs(y.real(i) - want), 3e-6 + half_ulp) << i;  // x − mean cancels
          } else {
            expect_near(y, i, want, 0);
          }
        }
      }
    }
  }
}

TEST_P(NpuOps, Softmax) {
  for (Element type : kTypes) {
    for (Element to : {type, Element::kF32}) {
      for (uint32_t columns : {1u, 5u, 8u, 16u, 31u, 64u, 100u, 577u}) {
        for (bool logarithm : {false, true}) {
          SCOPED_TRACE(std::string(type_name(type)) + " to " + type_name(to) + ", " + std::to_string(columns) + (logarithm ? ", logarithm" : ""));
          const float beta = 0.7f;
          const Tensor x = random_tensor(type, columns, 1);
          Tensor y = output(to, columns, 1);
          tier().softmax(x.in(), beta, logarithm, y.out(), columns);
          expect_guard(y);
          double top = -INFINITY, sum = 0;
          for (uint32_t i = 0; i < columns; ++i) top = std::max(top, beta * x.real(i));
          for (uint32_t i = 0; i < columns; ++i) sum += std::exp(beta * x.real(i) - top);
          for (uint32_t i = 0; i < columns; ++i) {
            const double below = beta * x.real(i) - top, want = logarithm ? below - std::log(sum) : std::exp(below) / sum;
            expect_near(y, i, want, logarithm && std::abs(want) < 0.1 ? 1e-5 : 2e-6);
          }
        }
      }
    }
  }
}

// A masked position has −∞ or next to it, and its share is nothing.
TEST_P(NpuOps, SoftmaxOfMaskedRow) {
  for (const float masked : {-65504.0f, -std::numeric_limits<float>::infinity()}) {
    std::vector<float> x(21, masked), y(21);
    x[3] = 1.0f;
    x[20] = 1.0f;
    tier().softmax({Element::kF32, {}, reinterpret_cast<const std::byte*>(x.data())}, 1.0f, false, {Element::kF32, {}, reinterpret_cast<std::byte*>(y.data())}, 21);
    for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], i == 3 || i == 20 ? 0.5f : 0.0f, 1e-6f) << i;
  }
}

TEST_P(NpuOps, InPlace) {
  const Tensor x = random_tensor(Element::kF16, 77);
  Tensor y = x, apart = output(Element::kF16, 77, 0);
  tier().binary(BinaryOp::kMultiply, y.in(), x.in(), y.out(), 77);
  tier().binary(BinaryOp::kMultiply, x.in(), x.in(), apart.out(), 77);
  EXPECT_TRUE(std::equal(y.data.begin(), y.data.end(), apart.data.begin()));
  y = x;
  tier().softmax(y.in(), 1.0f, false, y.out(), 77);
  tier().softmax(x.in(), 1.0f, false, apart.out(), 77);
  EXPECT_TRUE(std::equal(y.data.begin(), y.data.end(), apart.data.begin()));
}

INSTANTIATE_TEST_SUITE_P(Tiers, NpuOps, testing::ValuesIn(tiers_of(npu_op_kernels())), [](const auto& p) { return std::string(isa_name(p.param)); });

}  // namespace
}  // namespace lutra::kernels
