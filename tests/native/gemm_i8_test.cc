// Every tier of the host NPU's matrix kernels against integers and doubles, and bit for bit against the portable tier.
#include "kernels/gemm_i8/gemm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "base/f16.h"
#include "tiers_of.h"

namespace lutra::kernels {
namespace {

struct Shape {
  uint32_t rows, outputs, depth;
};

// Edges of the register tiles (6, 4, 3, 2 rows; 64, 16, 8 outputs; 4 of depth) and the shapes of a real decoder.
const Shape kShapes[] = {{1, 1, 1},    {1, 64, 4},   {2, 3, 5},     {3, 65, 7},    {5, 17, 31},  {6, 64, 64},   {7, 63, 33},
                         {13, 130, 66}, {11, 24, 100}, {12, 192, 576}, {9, 72, 1536}, {19, 100, 258}, {128, 64, 576}};

class Gemm : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor lacks " << isa_name(GetParam());
  }
  std::mt19937 random{12345};

  /// Random codes with both extremes in every row, where saturating intermediate sums would show.
  std::vector<uint16_t> codes(size_t count, uint32_t highest) {
    std::vector<uint16_t> v(count);
    for (auto& code : v) {
      const uint32_t pick = random() % 8;
      code = static_cast<uint16_t>(pick == 0 ? highest : pick == 1 ? 0 : random() % (highest + 1));
    }
    return v;
  }
  std::vector<int8_t> weights(size_t count) {
    std::vector<int8_t> v(count);
    for (auto& w : v) {
      const uint32_t pick = random() % 8;
      w = static_cast<int8_t>(pick == 0 ? 127 : pick == 1 ? -128 : static_cast<int>(random() % 256) - 128);
    }
    return v;
  }
  float normal() { return std::normal_distribution<float>()(random); }
};

AlignedBuffer pack(GemmLayout layout, const void* w, Shape s, bool transposed) {
  AlignedBuffer packed(gemm_packed_size(layout, s.outputs, s.depth));
  std::memset(packed.data(), 0xa5, packed.size());
  gemm_pack(layout, static_cast<const std::byte*>(w), transposed ? 1 : s.depth, transposed ? s.outputs : 1, s.outputs, s.depth, 0, gemm_panels(s.outputs), packed.data());
  return packed;
}

/// Runs in uneven pieces of rows and panels, as tasks would.
void run(const GemmKernel& kernel, const GemmArgs& args, uint32_t rows) {
  const uint32_t panels = gemm_panels(args.outputs);
  const uint32_t row_cut = rows > 8 ? rows / 3 + 1 : rows, panel_cut = panels / 2;
  for (auto [r0, r1] : {std::pair{0u, row_cut}, std::pair{row_cut, rows}}) {
    for (auto [p0, p1] : {std::pair{0u, panel_cut}, std::pair{panel_cut, panels}}) {
      if (r0 < r1 && p0 < p1) kernel.run(args, r0, r1, p0, p1);
    }
  }
}

std::vector<std::byte> prepare(const GemmKernel& kernel, Element type, const std::byte* x, size_t stride, Shape s) {
  std::vector<std::byte> prepared(gemm_prepared_row(type, s.depth) * s.rows + 64, std::byte{0x77});
  kernel.prepare(type, x, stride, s.depth, 0, s.rows, prepared.data());
  for (size_t i = prepared.size() - 64; i < prepared.size(); ++i) EXPECT_EQ(prepared[i], std::byte{0x77}) << "prepare wrote past its rows";
  return prepared;
}

template <class Code>
std::vector<int64_t> integer_sums(const std::vector<Code>& x, const std::vector<int8_t>& w, Shape s, int64_t offset) {
  std::vector<int64_t> sums(size_t{s.rows} * s.outputs);
  for (uint32_t r = 0; r < s.rows; ++r) {
    for (uint32_t o = 0; o < s.outputs; ++o) {
      int64_t sum = 0;
      for (uint32_t k = 0; k < s.depth; ++k) sum += (static_cast<int64_t>(x[size_t{r} * s.depth + k]) + offset) * w[size_t{o} * s.depth + k];
      sums[size_t{r} * s.outputs + o] = sum;
    }
  }
  return sums;
}

template <class T>
std::vector<T> transpose(const std::vector<T>& w, Shape s) {
  std::vector<T> t(w.size());
  for (uint32_t o = 0; o < s.outputs; ++o) {
    for (uint32_t k = 0; k < s.depth; ++k) t[size_t{k} * s.outputs + o] = w[size_t{o} * s.depth + k];
  }
  return t;
}

constexpr size_t kGuard = 32;  // bytes after every output row that must stay as they were

/// What the formula of gemm.h says, in the arithmetic that it names.
int32_t expect_8(int64_t total, float multiplier, int32_t offset, Element type) {
  const float value = static_cast<float>(static_cast<int32_t>(total)) * multiplier;
  const double code = std::nearbyint(static_cast<double>(value)) - offset;
  return static_cast<int32_t>(std::min<double>(std::max<double>(code, lowest_code(type)), highest_code(type)));
}

TEST_P(Gemm, EightBitIsExact) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  for (Element type : {Element::kU8, Element::kS8}) {
    for (Shape s : kShapes) {
      SCOPED_TRACE("rows " + std::to_string(s.rows) + " outputs " + std::to_string(s.outputs) + " depth " + std::to_string(s.depth));
      const bool is_signed = type == Element::kS8;
      const auto raw = codes(size_t{s.rows} * s.depth, 255);
      std::vector<int32_t> x(raw.size());
      std::vector<uint8_t> bytes(raw.size());
      for (size_t i = 0; i < raw.size(); ++i) {
        bytes[i] = static_cast<uint8_t>(raw[i]);
        x[i] = is_signed ? static_cast<int8_t>(bytes[i]) : bytes[i];
      }
      const auto w = weights(size_t{s.outputs} * s.depth);
      const int32_t x_offset = is_signed ? 3 : -117, y_offset = is_signed ? -9 : -101;
      const auto sums = integer_sums(x, w, s, x_offset);
      const AlignedBuffer packed = pack(GemmLayout::kDotS8, w.data(), s, false);
      const auto wt = transpose(w, s);
      const AlignedBuffer from_transposed = pack(GemmLayout::kDotS8, wt.data(), s, true);
      ASSERT_EQ(0, std::memcmp(packed.data(), from_transposed.data(), packed.size()));

      const uint32_t padded = gemm_panels(s.outputs) * kGemmPanel;
      std::vector<float> multiplier(padded, 0);
      std::vector<int32_t> correction(padded, 0), bias(s.outputs);
      const int32_t* weight_sums = gemm_weight_sums(packed.data(), s.outputs, s.depth);
      for (uint32_t o = 0; o < s.outputs; ++o) {
        bias[o] = static_cast<int32_t>(random() % 2001) - 1000;
        multiplier[o] = (0.5f + static_cast<float>(random() % 100) / 100.0f) * 90.0f / (std::sqrt(static_cast<float>(s.depth)) * 9000.0f);
        correction[o] = (x_offset - (is_signed ? 128 : 0)) * weight_sums[o] + bias[o];
      }
      std::vector<std::byte> prepared;
      GemmArgs args{GemmLayout::kDotS8, type, s.outputs, s.depth, packed.data(), reinterpret_cast<const std::byte*>(bytes.data()), s.depth, nullptr, s.outputs + kGuard,
                    multiplier.data(), correction.data(), y_offset};
      if (gemm_needs_prepare(type, s.depth)) {
        prepared = prepare(kernel, type, args.x, s.depth, s);
        args.x = prepared.data();
        args.x_stride = gemm_prepared_row(type, s.depth);
      }
      std::vector<std::byte> y(args.y_stride * s.rows, std::byte{0x5c});
      args.y = y.data();
      run(kernel, args, s.rows);
      size_t not_saturated = 0;
      for (uint32_t r = 0; r < s.rows; ++r) {
        for (uint32_t o = 0; o < s.outputs; ++o) {
          const auto byte = static_cast<uint8_t>(y[r * args.y_stride + o]);
          const int32_t got = is_signed ? static_cast<int8_t>(byte) : byte;
          const int32_t want = expect_8(sums[size_t{r} * s.outputs + o] + bias[o], multiplier[o], y_offset, type);
          ASSERT_EQ(got, want) << "row " << r << " output " << o;
          not_saturated += want != lowest_code(type) && want != highest_code(type);
        }
        for (size_t i = s.outputs; i < args.y_stride; ++i) ASSERT_EQ(y[r * args.y_stride + i], std::byte{0x5c}) << "wrote past row " << r;
      }
      if (s.outputs >= 16) {
        EXPECT_GT(not_saturated, size_t{s.rows} * s.outputs / 4);
      }
    }
  }
}

TEST_P(Gemm, SixteenBitIsExact) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  for (Shape s : kShapes) {
    SCOPED_TRACE("rows " + std::to_string(s.rows) + " outputs " + std::to_string(s.outputs) + " depth " + std::to_string(s.depth));
    const auto x = codes(size_t{s.rows} * s.depth, 65535);
    const auto w = weights(size_t{s.outputs} * s.depth);
    const int32_t x_offset = -30011, y_offset = -32768;
    const auto sums = integer_sums(x, w, s, x_offset);
    const AlignedBuffer packed = pack(GemmLayout::kDotS8, w.data(), s, false);
    const uint32_t padded = gemm_panels(s.outputs) * kGemmPanel;
    std::vector<double> multiplier(padded, 0), correction(padded, 0);
    for (uint32_t o = 0; o < s.outputs; ++o) {
      multiplier[o] = 15000.0 / (std::sqrt(static_cast<double>(s.depth)) * 74.0 * 19000.0);
      correction[o] = static_cast<double>(x_offset) * gemm_weight_sums(packed.data(), s.outputs, s.depth)[o] + 777.0;
    }
    const auto prepared = prepare(kernel, Element::kU16, reinterpret_cast<const std::byte*>(x.data()), size_t{s.depth} * 2, s);
    const size_t y_stride = s.outputs * 2 + kGuard;
    std::vector<std::byte> y(y_stride * s.rows, std::byte{0x5c});
    const GemmArgs args{GemmLayout::kDotS8, Element::kU16, s.outputs, s.depth, packed.data(), prepared.data(), gemm_prepared_row(Element::kU16, s.depth), y.data(), y_stride,
                        multiplier.data(), correction.data(), y_offset};
    run(kernel, args, s.rows);
    for (uint32_t r = 0; r < s.rows; ++r) {
      for (uint32_t o = 0; o < s.outputs; ++o) {
        uint16_t got;
        std::memcpy(&got, y.data() + r * y_stride + o * 2, 2);
        const double code = std::nearbyint(static_cast<double>(sums[size_t{r} * s.outputs + o] + 777) * multiplier[o]) - y_offset;
        ASSERT_EQ(got, static_cast<int32_t>(std::clamp(code, 0.0, 65535.0))) << "row " << r << " output " << o;
      }
      for (size_t i = s.outputs * 2; i < y_stride; ++i) ASSERT_EQ(y[r * y_stride + i], std::byte{0x5c}) << "wrote past row " << r;
    }
  }
}

// S16 is U16 with its codes shifted; a term per row comes on top of the one per output.
TEST_P(Gemm, SignedSixteenBitsAndTermsPerRow) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  for (Shape s : kShapes) {
    SCOPED_TRACE("rows " + std::to_string(s.rows) + " outputs " + std::to_string(s.outputs) + " depth " + std::to_string(s.depth));
    const auto unsigned_codes = codes(size_t{s.rows} * s.depth, 65535);
    std::vector<uint16_t> x(unsigned_codes.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(unsigned_codes[i] - 32768);
    const auto w = weights(size_t{s.outputs} * s.depth);
    const auto sums = integer_sums(unsigned_codes, w, s, -32768);
    const AlignedBuffer packed = pack(GemmLayout::kDotS8, w.data(), s, false);
    const uint32_t padded = gemm_panels(s.outputs) * kGemmPanel;
    std::vector<double> multiplier(padded, 0), correction(padded, 0), per_row(s.rows);
    for (uint32_t o = 0; o < s.outputs; ++o) {
      multiplier[o] = 15000.0 / (std::sqrt(static_cast<double>(s.depth)) * 74.0 * 19000.0);
      correction[o] = -32768.0 * gemm_weight_sums(packed.data(), s.outputs, s.depth)[o];
    }
    for (uint32_t r = 0; r < s.rows; ++r) per_row[r] = 1000.0 * r - 777.0;
    const auto prepared = prepare(kernel, Element::kS16, reinterpret_cast<const std::byte*>(x.data()), size_t{s.depth} * 2, s);
    std::vector<int16_t> y(size_t{s.rows} * s.outputs);
    GemmArgs args{GemmLayout::kDotS8, Element::kS16, s.outputs, s.depth, packed.data(), prepared.data(), gemm_prepared_row(Element::kS16, s.depth),
                  reinterpret_cast<std::byte*>(y.data()), size_t{s.outputs} * 2, multiplier.data(), correction.data(), 11};
    args.row_correction = per_row.data();
    run(kernel, args, s.rows);
    for (uint32_t r = 0; r < s.rows; ++r) {
      for (uint32_t o = 0; o < s.outputs; ++o) {
        const double code = std::nearbyint((static_cast<double>(sums[size_t{r} * s.outputs + o]) + per_row[r]) * multiplier[o]) - 11;
        ASSERT_EQ(y[size_t{r} * s.outputs + o], static_cast<int32_t>(std::clamp(code, -32768.0, 32767.0))) << "row " << r << " output " << o;
      }
    }
  }
}

TEST_P(Gemm, EightBitTermsPerRow) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  for (Shape s : kShapes) {
    const auto wide = codes(size_t{s.rows} * s.depth, 255);
    const std::vector<uint8_t> x(wide.begin(), wide.end());
    const auto w = weights(size_t{s.outputs} * s.depth);
    const auto sums = integer_sums(wide, w, s, 0);
    const AlignedBuffer packed = pack(GemmLayout::kDotS8, w.data(), s, false);
    const uint32_t padded = gemm_panels(s.outputs) * kGemmPanel;
    const std::vector<float> multiplier(padded, 100.0f / (std::sqrt(static_cast<float>(s.depth)) * 74.0f * 74.0f));
    const std::vector<int32_t> correction(padded, 12);
    std::vector<int32_t> per_row(s.rows);
    for (uint32_t r = 0; r < s.rows; ++r) per_row[r] = static_cast<int32_t>(300 * r) - 500;
    const auto prepared = prepare(kernel, Element::kU8, reinterpret_cast<const std::byte*>(x.data()), s.depth, s);
    std::vector<uint8_t> y(size_t{s.rows} * s.outputs);
    GemmArgs args{GemmLayout::kDotS8, Element::kU8, s.outputs, s.depth, packed.data(), prepared.data(), gemm_prepared_row(Element::kU8, s.depth),
                  reinterpret_cast<std::byte*>(y.data()), s.outputs, multiplier.data(), correction.data(), -128};
    args.row_correction = per_row.data();
    run(kernel, args, s.rows);
    for (uint32_t r = 0; r < s.rows; ++r) {
      for (uint32_t o = 0; o < s.outputs; ++o) {
        const float value = static_cast<float>(sums[size_t{r} * s.outputs + o] + 12 + per_row[r]) * multiplier[o];
        ASSERT_EQ(y[size_t{r} * s.outputs + o], static_cast<int32_t>(std::nearbyint(std::clamp(value, -128.0f, 127.0f))) + 128) << "row " << r << " output " << o;
      }
    }
  }
}

// The largest sums that the contract allows: nothing may saturate or wrap.
TEST_P(Gemm, ExtremeSumsDoNotOverflow) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  const Shape s{2, 2, kGemmMaxDepth};
  std::vector<int8_t> w(size_t{s.outputs} * s.depth, -128);
  std::fill(w.begin() + s.depth, w.end(), int8_t{127});
  const AlignedBuffer packed = pack(GemmLayout::kDotS8, w.data(), s, false);
  std::vector<uint8_t> x(size_t{s.rows} * s.depth, 255);
  std::vector<float> multiplier(kGemmPanel, 0x1p-24f);
  std::vector<int32_t> correction(kGemmPanel, 0);
  uint8_t y[4] = {};
  const GemmArgs args{GemmLayout::kDotS8, Element::kU8, s.outputs, s.depth, packed.data(), reinterpret_cast<const std::byte*>(x.data()), s.depth, reinterpret_cast<std::byte*>(y), 2,
                      multiplier.data(), correction.data(), -128};
  kernel.run(args, 0, 2, 0, 1);
  EXPECT_EQ(y[0], 0);  // −127.5 rounds to −128
  EXPECT_EQ(y[1], 255);
  EXPECT_EQ(y[2], y[0]);

  std::vector<uint16_t> wide(size_t{s.rows} * s.depth, 65535);
  std::fill(wide.begin() + s.depth, wide.end(), uint16_t{0});
  const auto prepared = prepare(kernel, Element::kU16, reinterpret_cast<const std::byte*>(wide.data()), size_t{s.depth} * 2, s);
  std::vector<double> multiplier16(kGemmPanel, 0x1p-25), correction16(kGemmPanel, 0);
  uint16_t y16[4] = {};
  const GemmArgs args16{GemmLayout::kDotS8, Element::kU16, s.outputs, s.depth, packed.data(), prepared.data(), gemm_prepared_row(Element::kU16, s.depth),
                        reinterpret_cast<std::byte*>(y16), 4, multiplier16.data(), correction16.data(), -32768};
  kernel.run(args16, 0, 2, 0, 1);
  EXPECT_EQ(y16[0], 32768 - 16384);
  EXPECT_EQ(y16[1], 32768 + 16256);
  EXPECT_EQ(y16[2], 32768);
  EXPECT_EQ(y16[3], 32768);
}

template <class T>
T as_weight(float value);
template <>
int8_t as_weight<int8_t>(float value) { return static_cast<int8_t>(std::clamp(std::nearbyint(value * 40.0f), -128.0f, 127.0f)); }
template <>
uint16_t as_weight<uint16_t>(float value) { return f32_to_f16(value); }
template <>
float as_weight<float>(float value) { return value; }
double as_double(int8_t v) { return v; }
double as_double(uint16_t v) { return f16_to_f32(v); }
double as_double(float v) { return v; }

template <class Activation, class Weight, class Normal>
void check_float(const GemmKernel& kernel, GemmLayout layout, Element type, Normal normal) {
  for (Shape s : kShapes) {
    SCOPED_TRACE("rows " + std::to_string(s.rows) + " outputs " + std::to_string(s.outputs) + " depth " + std::to_string(s.depth));
    std::vector<Activation> x(size_t{s.rows} * s.depth);
    std::vector<Weight> w(size_t{s.outputs} * s.depth);
    for (auto& v : x) v = as_weight<Activation>(normal());
    for (auto& v : w) v = as_weight<Weight>(normal());
    const AlignedBuffer packed = pack(layout, w.data(), s, false);
    const auto wt = transpose(w, s);
    ASSERT_EQ(0, std::memcmp(packed.data(), pack(layout, wt.data(), s, true).data(), packed.size()));
    const uint32_t padded = gemm_panels(s.outputs) * kGemmPanel;
    std::vector<float> multiplier(padded, 0), bias(padded, 0);
    for (uint32_t o = 0; o < s.outputs; ++o) {
      multiplier[o] = layout == GemmLayout::kFloatS8 ? 0.01f + 0.001f * static_cast<float>(o % 7) : 1.0f;
      bias[o] = normal();
    }
    std::vector<std::byte> prepared;
    const size_t y_stride = s.outputs * sizeof(Activation) + kGuard;
    std::vector<std::byte> y(y_stride * s.rows, std::byte{0x5c});
    for (bool with_bias : {false, true}) {
      GemmArgs args{layout, type, s.outputs, s.depth, packed.data(), reinterpret_cast<const std::byte*>(x.data()), s.depth * sizeof(Activation), y.data(), y_stride,
                    multiplier.data(), with_bias ? bias.data() : nullptr, 0};
      if (gemm_needs_prepare(type, s.depth)) {
        prepared = prepare(kernel, type, args.x, args.x_stride, s);
        args.x = prepared.data();
        args.x_stride = gemm_prepared_row(type, s.depth);
      }
      run(kernel, args, s.rows);
      double error = 0, power = 0;
      for (uint32_t r = 0; r < s.rows; ++r) {
        for (uint32_t o = 0; o < s.outputs; ++o) {
          double want = 0;
          for (uint32_t k = 0; k < s.depth; ++k) want += as_double(x[size_t{r} * s.depth + k]) * as_double(w[size_t{o} * s.depth + k]);
          want = want * multiplier[o] + (with_bias ? bias[o] : 0.0f);
          Activation got;
          std::memcpy(&got, y.data() + r * y_stride + o * sizeof(Activation), sizeof got);
          error += (as_double(got) - want) * (as_double(got) - want);
          power += want * want;
        }
        for (size_t i = s.outputs * sizeof(Activation); i < y_stride; ++i) ASSERT_EQ(y[r * y_stride + i], std::byte{0x5c});
      }
      ASSERT_GT(power, 0);
      EXPECT_LE(error / power, type == Element::kF16 ? 2e-7 : 1e-11);
    }
  }
}

TEST_P(Gemm, FloatForms) {
  const GemmKernel& kernel = gemm_kernel(GetParam());
  const auto next = [this] { return normal(); };
  check_float<uint16_t, int8_t>(kernel, GemmLayout::kFloatS8, Element::kF16, next);
  check_float<uint16_t, uint16_t>(kernel, GemmLayout::kFloatF16, Element::kF16, next);
  check_float<float, float>(kernel, GemmLayout::kFloatF32, Element::kF32, next);
}

INSTANTIATE_TEST_SUITE_P(Tiers, Gemm, testing::ValuesIn(tiers_of(gemm_kernels())), [](const auto& p) { return std::string(isa_name(p.param)); });

}  // namespace
}  // namespace lutra::kernels
