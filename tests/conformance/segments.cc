#include "segments.h"

namespace lutra::conformance {
namespace {

constexpr uint32_t kRows = 128, kHidden = 576, kKv = 192, kInner = 1536;

/// The residual stream: normal, with a few channels that are much larger at some tokens.
std::vector<double> residual(std::mt19937& random) {
  std::vector<double> x = normal(random, size_t{kRows} * kHidden, 0, 2);
  for (uint32_t row = 0; row < kRows; ++row) {
    x[size_t{row} * kHidden + 41] *= 30;
    if (row % 16 == 0) x[size_t{row} * kHidden + 317] *= 400;
  }
  return x;
}

/// What the linears of one input share: the quantised input and its reshaped form.
class LinearInput {
 public:
  LinearInput(GraphSpec& g, size_t x, Kind kind, double clipped) : g_(g), kind_(kind) {
    const std::string name = g.tensor(x).name;
    switch (kind) {
      case Kind::kA8: matrix_ = g.quantize(x, name + ".u8", {DT::kUfixed8, Fit::kMinMax}); break;
      case Kind::kA8Shadow: {
        const size_t s8 = g.quantize(x, name + ".s8", {DT::kSfixed8, Fit::kSymmetric, clipped});
        matrix_ = g.reshape(s8, {1, 1, kRows, g.tensor(x).dims[1]}, name + ".s8.rank4");
        break;
      }
      case Kind::kA16: matrix_ = g.quantize(x, name + ".u16", {DT::kUfixed16, Fit::kMinMax}); break;
      case Kind::kF16: matrix_ = x; break;
    }
  }

  /// The linear as it leaves the NPU's matrix unit.
  size_t raw(const std::string& name, uint32_t out, double clipped) {
    const bool conv = kind_ == Kind::kA8Shadow;
    const uint32_t in = g_.tensor(matrix_).dims.back();
    const size_t w = g_.weight(name + ".w8", out, in, conv);
    switch (kind_) {
      case Kind::kA8: return g_.linear(matrix_, w, name + ".u8", {DT::kUfixed8, Fit::kMinMax});
      case Kind::kA8Shadow:
        return g_.reshape(g_.linear(matrix_, w, name + ".s8.rank4", {DT::kSfixed8, Fit::kMinMax, clipped}), {kRows, out}, name + ".s8");
      case Kind::kA16: return g_.linear(matrix_, w, name + ".u16", {DT::kUfixed16, Fit::kMinMax});
      case Kind::kF16: break;
    }
    return g_.linear(matrix_, w, name, {DT::kFloat16});
  }

  size_t f16(const std::string& name, uint32_t out) {
    const size_t y = raw(name, out, 0);
    return kind_ == Kind::kF16 ? y : g_.dequantize(y, name);
  }

 private:
  GraphSpec& g_;
  Kind kind_;
  size_t matrix_ = 0;
};

size_t norm(GraphSpec& g, size_t x, const std::string& name) {
  const size_t gamma = g.constant(name + ".gamma", DT::kFloat16, {kHidden}, normal(g.random(), kHidden, 1, 0.2));
  const size_t zeros = g.constant(name + ".zeros", DT::kFloat16, {kHidden}, std::vector<double>(kHidden));
  return g.rms_norm(x, gamma, zeros, name);
}

/// Norm and q, k, v. Repaired linears leave as integers, together with the F16 input of the repair.
void part1(GraphSpec& g, size_t x, Kind kind) {
  const size_t n = norm(g, x, "n");
  LinearInput input(g, n, kind, 0.01);
  const struct {
    const char* name;
    uint32_t out;
  } linears[] = {{"q", kHidden}, {"k", kKv}, {"v", kKv}};
  for (const auto& [name, out] : linears) g.output(kind == Kind::kA8Shadow ? input.raw(name, out, 0.0001) : input.f16(name, out));
  if (kind == Kind::kA8Shadow) g.output(n);
}

/// o, residual, norm, MLP and, unless the CPU repairs down, the residual and the next layer's part1.
void part2(GraphSpec& g, const SegmentCase& s) {
  const Dims dims{kRows, kHidden};
  const size_t a = g.input("a", {DT::kFloat16}, dims, normal(g.random(), size_t{kRows} * kHidden));
  const size_t r = g.input("r", {DT::kFloat16}, dims, residual(g.random()));
  const size_t h = g.binary("ElementWiseAdd", LinearInput(g, a, s.o, 0.0025).f16("o", kHidden), r, "h");
  LinearInput ffn(g, norm(g, h, "fn"), s.gateup, 0);
  const size_t gate = ffn.f16("gate", kInner), up = ffn.f16("up", kInner);
  const size_t silu = g.binary("ElementWiseMultiply", gate, g.unary("Sigmoid", gate, "sigmoid"), "silu");
  const size_t m = g.binary("ElementWiseMultiply", silu, up, "m");
  LinearInput input(g, m, s.down, 0.0025);
  if (s.down == Kind::kA8Shadow) {
    for (const size_t t : {input.raw("down", kHidden, 0.001), h, m}) g.output(t);
    return;
  }
  const size_t x = g.binary("ElementWiseAdd", input.f16("down", kHidden), h, "x");
  g.output(x);
  part1(g, x, s.qkv);
}

}  // namespace

const std::vector<SegmentCase>& segment_cases() {
  static const std::vector<SegmentCase> kCases = {
      {"Default", Kind::kA8Shadow, Kind::kA8Shadow, Kind::kA16, Kind::kA16, true},
      {"DefaultFirst", Kind::kA8Shadow, Kind::kA8Shadow, Kind::kA16, Kind::kA16, false},
      {"W8a8", Kind::kA8, Kind::kA8, Kind::kA8, Kind::kA8, true},
      {"W8a8ShadowedDown", Kind::kA8Shadow, Kind::kA8Shadow, Kind::kA8, Kind::kA8Shadow, true},
      {"W8a16", Kind::kA16, Kind::kA16, Kind::kA16, Kind::kA16, true},
      {"W8f16", Kind::kF16, Kind::kF16, Kind::kF16, Kind::kF16, true},
  };
  return kCases;
}

GraphSpec segment_graph(const SegmentCase& segment, uint32_t seed, Rounding rounding) {
  GraphSpec g(seed, rounding);
  if (segment.whole) {
    part2(g, segment);
  } else {
    part1(g, g.input("x", {DT::kFloat16}, {kRows, kHidden}, residual(g.random())), segment.qkv);
  }
  return g;
}

}  // namespace lutra::conformance
