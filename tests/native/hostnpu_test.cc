// What the host NPU computes, through the C interface: every node of random graphs against integers and doubles, on every kernel tier.
#include <cstdint>
#include <functional>
#include <random>

#include "base/cpu.h"
#include "hostnpu_client.h"

namespace lutra::test {
namespace {

using TensorType::kAppRead;
using TensorType::kAppWrite;
using TensorType::kNative;
using TensorType::kStatic;

const DataType kF32 = DataType::kFloat32, kF16 = DataType::kFloat16, kU8 = DataType::kUfixed8, kS8 = DataType::kSfixed8, kU16 = DataType::kUfixed16, kS32 = DataType::kSfixed32;

class HostNpu : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_available(GetParam())) GTEST_SKIP() << "this processor lacks " << isa_name(GetParam());
    setenv("LUTRA_FORCE_KERNEL", isa_name(GetParam()), 1);
  }
  void TearDown() override { unsetenv("LUTRA_FORCE_KERNEL"); }

  std::mt19937 random{4711};
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(random() % n); }
  float normal() { return std::normal_distribution<float>()(random); }

  abi::ScaleOffset range(DataType type, float half_width) {
    const float steps = type == kU16 ? 65535.0f : 255.0f;
    const auto middle = static_cast<int32_t>((highest(type) + lowest(type) + 1) / 2);
    return {2 * half_width / steps, -middle + static_cast<int32_t>(below(5)) - 2};
  }
  TestTensor tensor(const std::string& name, TensorType type, DataType dtype, std::vector<uint32_t> dims, float half_width = 4.0f) {
    TestTensor t;
    t.name = name;
    t.type = type;
    t.dtype = dtype;
    t.dims = std::move(dims);
    t.quantized = is_code(dtype);
    if (t.quantized) t.scales = {range(dtype, half_width)};
    return t;
  }
  void randomize(TestTensor& t, float spread = 1.0f) {
    t.data.resize(t.bytes());
    for (size_t i = 0; i < t.elements(); ++i) {
      const float v = normal() * spread;
      if (t.dtype == kF32) std::memcpy(t.data.data() + i * 4, &v, 4);
      if (t.dtype == kF16) {
        const uint16_t h = f32_to_f16(v);
        std::memcpy(t.data.data() + i * 2, &h, 2);
      }
      if (is_code(t.dtype)) {
        const auto code = static_cast<int64_t>(std::nearbyint(v / t.scales[0].scale)) - t.scales[0].offset;
        const int64_t clamped = std::clamp(code, lowest(t.dtype), highest(t.dtype));
        std::memcpy(t.data.data() + i * bytes_of(t.dtype), &clamped, bytes_of(t.dtype));
      }
    }
  }
  /// A symmetric S8 weight, [out, in] or [1, 1, in, out], with one scale or one per output.
  TestTensor weight(const std::string& name, uint32_t outputs, uint32_t depth, bool conv, bool per_output) {
    TestTensor w = tensor(name, kStatic, kS8, conv ? std::vector<uint32_t>{1, 1, depth, outputs} : std::vector<uint32_t>{outputs, depth});
    w.scales.assign(per_output ? outputs : 1, {});
    for (auto& s : w.scales) s = {0.002f + 0.0001f * static_cast<float>(below(30)), 0};
    w.axis = per_output ? (conv ? 3 : 0) : -1;
    w.data.resize(w.bytes());
    for (std::byte& b : w.data) b = static_cast<std::byte>(below(4) == 0 ? (below(2) == 0 ? 127 : 128) : below(256));
    return w;
  }

  // ---- references: the value that an element of y has to have, from the actual inputs

  static void expect_value(const TestTensor& y, size_t i, double want, double float_slack, size_t* off_by_one) {
    if (!is_code(y.dtype)) {
      const double ulp = y.dtype == kF16 ? std::max(std::abs(want) * 0x1p-11, 0x1p-25) : std::abs(want) * 0x1p-23;
      ASSERT_LE(std::abs(y.real(i) - want), ulp * 1.01 + float_slack) << y.name << " element " << i << " is " << y.real(i) << ", not " << want;
      return;
    }
    const double exact = want / static_cast<double>(y.scales[0].scale) - y.scales[0].offset;
    const auto code = static_cast<int64_t>(std::clamp(std::nearbyint(exact), static_cast<double>(lowest(y.dtype)), static_cast<double>(highest(y.dtype))));
    const int64_t difference = std::abs(y.code(i) - code);
    ASSERT_LE(difference, 1) << y.name << " element " << i << " is " << y.code(i) << ", not " << code;
    if (difference == 0) return;
    ++*off_by_one;
    // One step is right only where the value lies at a rounding border.
    const double fraction = exact - std::floor(exact);
    ASSERT_LE(std::abs(fraction - 0.5), y.dtype == kU16 ? 0.02 : 1e-3) << y.name << " element " << i << " of value " << exact << " became " << y.code(i);
  }

  static void check_linear(const TestTensor& x, const TestTensor& w, const TestTensor* bias, const TestTensor& y, bool conv) {
    const uint32_t outputs = conv ? w.dims[3] : w.dims[0], depth = conv ? w.dims[2] : w.dims[1];
    const size_t rows = x.elements() / depth;
    size_t off = 0, inside = 0;
    for (size_t r = 0; r < rows; ++r) {
      for (uint32_t o = 0; o < outputs; ++o) {
        const auto at = [&](uint32_t k) { return conv ? size_t{k} * outputs + o : size_t{o} * depth + k; };
        double want = 0, magnitude = 0;
        if (is_code(x.dtype)) {
          int64_t sum = 0;
          for (uint32_t k = 0; k < depth; ++k) sum += (x.code(r * depth + k) + x.scales[0].offset) * w.code(at(k));
          if (bias != nullptr) sum += bias->code(o);
          want = static_cast<double>(sum) * (static_cast<double>(x.scales[0].scale) * static_cast<double>(w.scales[w.axis >= 0 ? o : 0].scale));
        } else {
          for (uint32_t k = 0; k < depth; ++k) {
            const double product = x.real(r * depth + k) * (w.dtype == kS8 ? static_cast<double>(w.code(at(k))) * static_cast<double>(w.scales[w.axis >= 0 ? o : 0].scale) : w.real(at(k)));
            want += product;
            magnitude += std::abs(product);
          }
          if (bias != nullptr) want += bias->real(o);
        }
        const size_t i = r * outputs + o;
        if (is_code(y.dtype)) inside += y.code(i) != lowest(y.dtype) && y.code(i) != highest(y.dtype);
        ASSERT_NO_FATAL_FAILURE(expect_value(y, i, want, magnitude * 1e-6, &off));
      }
    }
    EXPECT_LE(off, y.elements() / 200 + 1);
    if (is_code(y.dtype) && y.elements() > 100) {
      EXPECT_GT(inside, y.elements() / 10) << "nearly all outputs are saturated";
    }
  }

  static void check_map(const std::vector<const TestTensor*>& x, const TestTensor& y, const std::function<double(const std::vector<double>&)>& f, double relative = 1e-6) {
    size_t off = 0;
    std::vector<double> values(x.size());
    for (size_t i = 0; i < y.elements(); ++i) {
      double magnitude = 0;
      for (size_t j = 0; j < x.size(); ++j) {
        values[j] = x[j]->real(x[j]->elements() == y.elements() ? i : i % x[j]->elements());
        magnitude += std::abs(values[j]);
      }
      ASSERT_NO_FATAL_FAILURE(expect_value(y, i, f(values), (magnitude + std::abs(f(values))) * relative, &off));
    }
    EXPECT_LE(off, y.elements() / 100 + 2);
  }

  static void check_norm(const TestTensor& x, const TestTensor& gain, const TestTensor* bias, const TestTensor& y, double epsilon) {
    const size_t columns = y.dims.back();
    size_t off = 0;
    for (size_t r = 0; r < y.elements() / columns; ++r) {
      double squares = 0;
      for (size_t i = 0; i < columns; ++i) squares += x.real(r * columns + i) * x.real(r * columns + i);
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(columns) + epsilon);
      for (size_t i = 0; i < columns; ++i) {
        const double normed = x.real(r * columns + i) * scale * gain.real(i);
        ASSERT_NO_FATAL_FAILURE(expect_value(y, r * columns + i, normed + (bias == nullptr ? 0 : bias->real(i)), (std::abs(normed) + 1) * 1e-6, &off));
      }
    }
  }
};

TEST_P(HostNpu, EveryLinearForm) {
  struct Form {
    DataType x, w;
  };
  const Form forms[] = {{kU8, kS8}, {kS8, kS8}, {kU16, kS8}, {kF16, kS8}, {kF16, kF16}, {kF32, kF32}};
  Session session;
  int number = 0;
  for (const Form& form : forms) {
    for (bool conv : {false, true}) {
      for (bool with_bias : {false, true}) {
        for (bool per_output : {false, true}) {
          for (auto [rows, depth, outputs] : {std::tuple{1u, 1u, 1u}, {7u, 33u, 65u}, {13u, 64u, 192u}, {4u, 577u, 30u}}) {
            SCOPED_TRACE(std::to_string(static_cast<int>(form.x)) + (conv ? " conv " : " fc ") + std::to_string(rows) + "x" + std::to_string(depth) + "x" + std::to_string(outputs) +
                         (with_bias ? " bias" : "") + (per_output ? " per output" : ""));
            TestGraph graph(session, "g" + std::to_string(number++));
            TestTensor& x = graph.add(tensor("x", kAppWrite, form.x, conv ? std::vector<uint32_t>{1, 1, rows, depth} : std::vector<uint32_t>{rows, depth}));
            randomize(x);
            TestTensor w = form.w == kS8 ? weight("w", outputs, depth, conv, per_output)
                                         : tensor("w", kStatic, form.w, conv ? std::vector<uint32_t>{1, 1, depth, outputs} : std::vector<uint32_t>{outputs, depth});
            if (form.w != kS8) randomize(w);
            TestTensor& wr = graph.add(std::move(w));
            TestTensor* bias = nullptr;
            if (with_bias) {
              TestTensor b = tensor("b", kStatic, is_code(form.x) ? kS32 : form.x, {outputs});
              b.data.resize(b.bytes());
              if (is_code(form.x)) {
                b.quantized = true;
                b.axis = per_output ? 0 : -1;
                for (const auto& s : wr.scales) b.scales.push_back({s.scale * x.scales[0].scale, 0});
                for (uint32_t o = 0; o < outputs; ++o) {
                  const auto code = static_cast<int32_t>(0.5f * normal() / b.scales[per_output ? o : 0].scale);
                  std::memcpy(b.data.data() + o * 4, &code, 4);
                }
              } else {
                randomize(b);
              }
              bias = &graph.add(std::move(b));
            }
            const float spread = is_code(form.x) ? 1.5f * 0.0025f * 100.0f * std::sqrt(static_cast<float>(depth)) : 1.0f;
            TestTensor& y = graph.add(tensor("y", kAppRead, form.x, conv ? std::vector<uint32_t>{1, 1, rows, outputs} : std::vector<uint32_t>{rows, outputs}, spread));
            std::vector<TestTensor*> inputs = {&x, &wr};
            if (bias != nullptr) inputs.push_back(bias);
            std::vector<abi::Param> params;
            if (conv) params = {graph.words("stride", {2}, {1, 1}), graph.words("pad_amount", {2, 2}, {0, 0, 0, 0}), TestGraph::scalar("group", DataType::kUint32, 1)};
            graph.node(conv ? "Conv2d" : "FullyConnected", inputs, y, params);
            ASSERT_EQ(graph.finalize(), 0u) << Session::lines().back();
            ASSERT_EQ(graph.execute(), 0u) << Session::lines().back();
            check_linear(x, wr, bias, y, conv);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(HostNpu, DynamicWeightsAndHigherRanks) {
  Session session;
  for (DataType type : {kU8, kU16, kF16}) {
    TestGraph graph(session, "g" + std::to_string(static_cast<int>(type)));
    TestTensor& x = graph.add(tensor("x", kAppWrite, type, {2, 5, 36}));
    TestTensor dynamic = tensor("w", kAppWrite, kS8, {70, 36});
    dynamic.scales = {{0.004f, 0}};
    TestTensor& w = graph.add(std::move(dynamic));
    randomize(x);
    for (std::byte& b : w.data) b = static_cast<std::byte>(below(256));
    TestTensor& y = graph.add(tensor("y", kAppRead, type, {10, 70}, 3.0f));
    graph.node("FullyConnected", {&x, &w}, y);
    ASSERT_EQ(graph.finalize(), 0u) << Session::lines().back();
    for (int round = 0; round < 2; ++round) {
      ASSERT_EQ(graph.execute(), 0u) << Session::lines().back();
      check_linear(x, w, nullptr, y, false);
      for (std::byte& b : w.data) b = static_cast<std::byte>(below(256));
    }
  }
}

// A row that the graph computes, used for every row of another tensor.
TEST_P(HostNpu, ComputedRowOperand) {
  Session session;
  for (uint32_t rows : {1u, 50u}) {
    TestGraph graph(session, "g" + std::to_string(rows));
    TestTensor& a = graph.add(tensor("a", kAppWrite, kF16, {rows, 24}));
    TestTensor& r = graph.add(tensor("r", kAppWrite, kF16, {24}));
    TestTensor& s = graph.add(tensor("s", kAppRead, kF16, {24}));
    TestTensor& y = graph.add(tensor("y", kAppRead, kF16, {rows, 24}));
    TestTensor& z = graph.add(tensor("z", kAppRead, kF16, {rows, 24}));
    randomize(a);
    randomize(r);
    graph.node("Sigmoid", {&r}, s);
    graph.node("ElementWiseAdd", {&a, &s}, y);
    graph.node("ElementWiseMultiply", {&s, &y}, z);
    ASSERT_EQ(graph.finalize(), 0u);
    ASSERT_EQ(graph.execute(), 0u);
    check_map({&a, &s}, y, [](const auto& v) { return v[0] + v[1]; });
    check_map({&y, &s}, z, [](const auto& v) { return v[0] * v[1]; });
  }
}

// A bias in another scale than the accumulator's is converted, one without a scale is taken as it is.
TEST_P(HostNpu, BiasScales) {
  Session session;
  for (const bool has_scale : {true, false}) {
    TestGraph graph(session, has_scale ? "scaled" : "plain");
    TestTensor& x = graph.add(tensor("x", kAppWrite, kU8, {3, 8}));
    randomize(x);
    TestTensor& w = graph.add(weight("w", 4, 8, false, false));
    TestTensor b = tensor("b", kStatic, kS32, {4});
    const double unit = static_cast<double>(x.scales[0].scale) * static_cast<double>(w.scales[0].scale);
    b.quantized = has_scale;
    b.scales = {{static_cast<float>(unit * 7.5), 0}};
    const int32_t codes[4] = {100, -200, 333, 7};
    b.data.resize(16);
    std::memcpy(b.data.data(), codes, 16);
    TestTensor& bias = graph.add(std::move(b));
    TestTensor& y = graph.add(tensor("y", kAppRead, kU8, {3, 4}, 1.5f));
    graph.node("FullyConnected", {&x, &w, &bias}, y);
    ASSERT_EQ(graph.finalize(), 0u);
    ASSERT_EQ(graph.execute(), 0u);
    size_t off = 0;
    for (uint32_t r = 0; r < 3; ++r) {
      for (uint32_t o = 0; o < 4; ++o) {
        double sum = has_scale ? std::nearbyint(codes[o] * 7.5) : codes[o];
        for (uint32_t k = 0; k < 8; ++k) sum += static_cast<double>((x.code(r * 8 + k) + x.scales[0].offset) * w.code(o * 8 + k));
        ASSERT_NO_FATAL_FAILURE(expect_value(y, r * 4 + o, sum * unit, 0, &off));
      }
    }
  }
}

TEST_P(HostNpu, GatherAlongEveryAxis) {
  Session session;
  const std::vector<uint32_t> dims = {3, 5, 4};
  for (int32_t axis : {0, 1, 2, -1}) {
    for (DataType type : {kF16, kU8, kF32}) {
      TestGraph graph(session, "g" + std::to_string(axis) + "_" + std::to_string(static_cast<int>(type)));
      TestTensor& x = graph.add(tensor("x", kAppWrite, type, dims));
      randomize(x);
      const size_t at = static_cast<size_t>(axis < 0 ? axis + 3 : axis);
      const std::vector<int32_t> wanted = {2, 0, 1, 1, static_cast<int32_t>(dims[at]) + 7, -3};  // the last two are out of range
      TestTensor index = tensor("i", kStatic, DataType::kInt32, {6});
      index.data.resize(24);
      std::memcpy(index.data.data(), wanted.data(), 24);
      TestTensor& indices = graph.add(std::move(index));
      std::vector<uint32_t> out = dims;
      out[at] = 6;
      TestTensor made = tensor("y", kAppRead, type, out);
      made.scales = x.scales;
      TestTensor& y = graph.add(std::move(made));
      graph.node("Gather", {&x, &indices}, y, {TestGraph::scalar("axis", DataType::kInt32, static_cast<uint32_t>(axis))});
      ASSERT_EQ(graph.finalize(), 0u) << Session::lines().back();
      ASSERT_EQ(graph.execute(), 0u);
      for (uint32_t a = 0; a < out[0]; ++a) {
        for (uint32_t b = 0; b < out[1]; ++b) {
          for (uint32_t c = 0; c < out[2]; ++c) {
            uint32_t from[3] = {a, b, c};
            from[at] = static_cast<uint32_t>(std::clamp<int32_t>(wanted[from[at]], 0, static_cast<int32_t>(dims[at]) - 1));
            ASSERT_EQ(y.real((a * out[1] + b) * out[2] + c), x.real((from[0] * dims[1] + from[1]) * dims[2] + from[2]));
          }
        }
      }
    }
  }
}

/// Builds the same random graph twice: once with every tensor readable, to check each node by itself, once with only the last as output, which
/// exercises joined stages, shared memory and aliases.
class RandomGraphs : public HostNpu {
 protected:
  using Check = std::function<void(std::deque<TestTensor>&)>;
  struct Build {
    TestGraph& graph;
    TensorType inner;  // of tensors between nodes
    std::vector<Check> checks{};
    std::vector<size_t> live{};  // tensors to go on from
    std::string name{};          // of the node under way

    size_t add(TestTensor t) {
      graph.add(std::move(t));
      return graph.tensors.size() - 1;
    }
    TestTensor& at(size_t i) { return graph.tensors[i]; }
    void done(size_t y, Check check) {
      live.push_back(y);
      checks.push_back(std::move(check));
    }
  };

  void linear(Build& b, size_t ix) {
    const TestTensor& x = b.at(ix);
    const uint32_t depth = x.dims.back(), outputs = 1 + below(100);
    const size_t iw = b.add(weight(b.name + "w", outputs, depth, false, below(2) == 0));
    const size_t iy = b.add(tensor(b.name, b.inner, x.dtype, {static_cast<uint32_t>(x.elements() / depth), outputs}, 0.35f * std::sqrt(static_cast<float>(depth))));
    b.graph.node("FullyConnected", {&b.at(ix), &b.at(iw)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) { check_linear(t[ix], t[iw], nullptr, t[iy], false); });
  }

  void convert(Build& b, size_t ix) {
    const DataType types[] = {kU8, kS8, kU16, kF16}, from = b.at(ix).dtype;
    DataType to = types[below(4)];
    if (to == from) to = is_code(from) ? kF16 : kU8;
    const size_t iy = b.add(tensor(b.name, b.inner, to, b.at(ix).dims, 5.0f));
    b.graph.node(!is_code(from) ? "Quantize" : is_code(to) ? "Convert" : "Dequantize", {&b.at(ix)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) { check_map({&t[ix]}, t[iy], [](const auto& v) { return v[0]; }); });
  }

  /// To another rank, or twice as many rows of half the length.
  void reshape(Build& b, size_t ix) {
    const TestTensor& x = b.at(ix);
    const auto all = static_cast<uint32_t>(x.elements());
    const uint32_t columns = x.dims.back() % 2 == 0 && below(2) == 0 ? x.dims.back() / 2 : x.dims.back();
    std::vector<uint32_t> dims = {all / columns, columns};
    if (below(2) == 0) dims.insert(dims.begin(), 1);
    TestTensor made = tensor(b.name, b.inner, x.dtype, dims);
    made.scales = x.scales;
    const size_t iy = b.add(std::move(made));
    b.graph.node("Reshape", {&b.at(ix)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) { EXPECT_EQ(t[ix].data, t[iy].data); });
  }

  void with_row(Build& b, size_t ix) {
    const TestTensor& x = b.at(ix);
    TestTensor row = tensor(b.name + "c", kStatic, x.dtype, below(2) == 0 ? std::vector<uint32_t>{x.dims.back()} : std::vector<uint32_t>{1, x.dims.back()}, 2.0f);
    randomize(row, 0.5f);
    const bool adds = below(2) == 0;
    const size_t ic = b.add(std::move(row)), iy = b.add(tensor(b.name, b.inner, b.at(ix).dtype, b.at(ix).dims, 5.0f));
    b.graph.node(adds ? "ElementWiseAdd" : "ElementWiseMultiply", {&b.at(ix), &b.at(ic)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) { check_map({&t[ix], &t[ic]}, t[iy], [adds](const auto& v) { return adds ? v[0] + v[1] : v[0] * v[1]; }); });
  }

  void norm(Build& b, size_t ix) {
    const std::vector<uint32_t> dims = b.at(ix).dims;
    TestTensor gain = tensor(b.name + "g", kStatic, kF16, {dims.back()}), beta = tensor(b.name + "b", kStatic, kF16, {dims.back()});
    randomize(gain, 0.3f);
    randomize(beta, 0.1f);
    const bool has_beta = below(2) == 0;
    const size_t ig = b.add(std::move(gain)), ib = b.add(std::move(beta)), iy = b.add(tensor(b.name, b.inner, kF16, dims));
    std::vector<TestTensor*> inputs = {&b.at(ix), &b.at(ig)};
    if (has_beta) inputs.push_back(&b.at(ib));
    b.graph.node("RmsNorm", inputs, b.at(iy), {TestGraph::float_param("epsilon", 1e-3f), b.graph.words("axes", {1}, {static_cast<uint32_t>(dims.size() - 1)})});
    b.done(iy, [=](std::deque<TestTensor>& t) { check_norm(t[ix], t[ig], has_beta ? &t[ib] : nullptr, t[iy], static_cast<double>(1e-3f)); });
  }

  /// x · sigmoid(x) or x · relu(x).
  void gate(Build& b, size_t ix) {
    const size_t is = b.add(tensor(b.name + "s", b.inner, kF16, b.at(ix).dims)), iy = b.add(tensor(b.name, b.inner, kF16, b.at(ix).dims));
    const bool relu = below(3) == 0;
    b.graph.node(relu ? "Relu" : "Sigmoid", {&b.at(ix)}, b.at(is));
    b.graph.node("ElementWiseMultiply", {&b.at(is), &b.at(ix)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) {
      check_map({&t[ix]}, t[is], [relu](const auto& v) { return relu ? std::max(0.0, v[0]) : 1.0 / (1.0 + std::exp(-v[0])); });
      check_map({&t[ix], &t[is]}, t[iy], [](const auto& v) { return v[0] * v[1]; });
    });
  }

  /// The sum with an earlier tensor of the same shape and type, or with itself.
  void sum(Build& b, size_t ix) {
    size_t other = ix;
    for (size_t i : b.live) {
      if (b.at(i).dims == b.at(ix).dims && b.at(i).dtype == b.at(ix).dtype) other = i;
      if (other != ix && below(2) == 0) break;
    }
    const size_t iy = b.add(tensor(b.name, b.inner, kF16, b.at(ix).dims));
    b.graph.node("ElementWiseAdd", {&b.at(ix), &b.at(other)}, b.at(iy));
    b.done(iy, [=](std::deque<TestTensor>& t) { check_map({&t[ix], &t[other]}, t[iy], [](const auto& v) { return v[0] + v[1]; }); });
  }

  /// Adds a random graph's nodes to `graph`; the same seed gives the same graph.
  std::vector<Check> build(TestGraph& graph, uint32_t seed, bool all_readable) {
    random.seed(seed);
    Build b{graph, all_readable ? kAppRead : kNative};
    const uint32_t rows = 1 + below(40), width = 8 * (1 + below(12));
    for (const char* name : {"x0", "x1"}) {
      b.live.push_back(b.add(tensor(name, kAppWrite, kF16, {rows, width})));
      randomize(b.at(b.live.back()));
    }
    const uint32_t count = 6 + below(14);
    for (uint32_t n = 0; n < count; ++n) {
      b.name = "t" + std::to_string(n);
      const size_t ix = b.live[b.live.size() - 1 - below(static_cast<uint32_t>(std::min<size_t>(b.live.size(), 3)))];
      switch (below(is_code(b.at(ix).dtype) ? 5 : 8)) {
        case 0:
        case 1: linear(b, ix); break;
        case 2: convert(b, ix); break;
        case 3: reshape(b, ix); break;
        case 4: with_row(b, ix); break;
        case 5: norm(b, ix); break;
        case 6: gate(b, ix); break;
        default: sum(b, ix);
      }
    }
    // Copies of the last two, so that something is an output in either form.
    for (size_t k = 0; k < 2; ++k) {
      const size_t ix = b.live[b.live.size() - 1 - k];
      TestTensor made = tensor("out" + std::to_string(k), kAppRead, b.at(ix).dtype, b.at(ix).dims);
      made.scales = b.at(ix).scales;
      const size_t iy = b.add(std::move(made));
      b.graph.node("Reshape", {&b.at(ix)}, b.at(iy));
    }
    return std::move(b.checks);
  }
};

TEST_P(RandomGraphs, EveryNodeAndTheWhole) {
  Session session;
  size_t compared = 0, nodes = 0;
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    TestGraph open(session, "open" + std::to_string(seed)), closed(session, "closed" + std::to_string(seed));
    const std::vector<Check> checks = build(open, seed, true);
    ASSERT_EQ(open.finalize(), 0u) << Session::lines().back();
    build(closed, seed, false);
    ASSERT_EQ(closed.finalize(), 0u) << Session::lines().back();
    ASSERT_EQ(closed.execute(), 0u) << Session::lines().back();
    ASSERT_EQ(open.execute(), 0u) << Session::lines().back();
    for (const auto& check : checks) {
      ASSERT_NO_FATAL_FAILURE(check(open.tensors));
      ++nodes;
    }
    for (size_t i = 0; i < open.tensors.size(); ++i) {
      if (closed.tensors[i].type != kAppRead) continue;
      ASSERT_EQ(closed.tensors[i].data, open.tensors[i].data) << closed.tensors[i].name;
      compared += closed.tensors[i].elements();
    }
    // Again, to see that nothing of the first run is left over.
    const std::vector<std::byte> first = closed.tensors.back().data;
    ASSERT_EQ(closed.execute(), 0u);
    ASSERT_EQ(closed.tensors.back().data, first);
  }
  EXPECT_GT(compared, 10000u);
  EXPECT_GT(nodes, 200u);
}

std::string tier_name(const testing::TestParamInfo<Isa>& info) { return isa_name(info.param); }
INSTANTIATE_TEST_SUITE_P(Tiers, HostNpu, testing::ValuesIn(isas().begin(), isas().end()), tier_name);
INSTANTIATE_TEST_SUITE_P(Tiers, RandomGraphs, testing::ValuesIn(isas().begin(), isas().end()), tier_name);

}  // namespace
}  // namespace lutra::test
