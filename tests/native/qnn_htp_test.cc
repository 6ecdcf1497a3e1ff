// The QNN client against a real HTP runtime, compiled for SoC 57.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "base/error.h"
#include "base/f16.h"
#include "qnn/context_image.h"
#include "qnn/graph.h"
#include "qnn_htp.h"

namespace lutra::qnn {
namespace {

using testing::Bytes;
using testing::bytes_of;
using testing::conv_params;
using testing::desc;
using testing::DT;
using testing::Htp;
using testing::kSoc;
using testing::norm_params;
using testing::run;

struct Range {
  double low, high;
};
Range range_of(DT dtype) {
  switch (dtype) {
    case DT::kUfixed8: return {0, 255};
    case DT::kSfixed8: return {-128, 127};
    case DT::kUfixed16: return {0, 65535};
    default: return {-32768, 32767};
  }
}

double get(const Bytes& bytes, DT dtype, size_t i) {
  switch (dtype) {
    case DT::kUfixed8: return static_cast<uint8_t>(bytes[i]);
    case DT::kSfixed8: return static_cast<int8_t>(bytes[i]);
    default: break;
  }
  uint16_t word = 0;
  std::memcpy(&word, bytes.data() + 2 * i, 2);
  if (dtype == DT::kFloat16) return f16_to_f32(word);
  return dtype == DT::kSfixed16 ? static_cast<int16_t>(word) : word;
}

void set(Bytes& bytes, DT dtype, size_t i, double value) {
  if (element_size(dtype) == 1) {
    bytes[i] = static_cast<std::byte>(static_cast<int>(value) & 0xFF);
    return;
  }
  const uint16_t word = dtype == DT::kFloat16 ? f32_to_f16(static_cast<float>(value)) : static_cast<uint16_t>(static_cast<int>(value) & 0xFFFF);
  std::memcpy(bytes.data() + 2 * i, &word, 2);
}

double nmse(const std::vector<double>& reference, const std::vector<double>& got) {
  double error = 0, power = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    error += (reference[i] - got[i]) * (reference[i] - got[i]);
    power += reference[i] * reference[i];
  }
  return error / power;
}

/// A linear with random data: x [rows, in] of type `dtype`, S8 weights with a scale per output, and what it computes exactly.
struct Linear {
  Linear(DT type, uint32_t row_count, uint32_t in_count, uint32_t out_count, uint32_t seed)
      : dtype(type), rows(row_count), in(in_count), out(out_count), weight(size_t{in} * out), scales(out), x(size_t{rows} * in * element_size(type)) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    std::uniform_int_distribution<int> code(-127, 127);
    for (int8_t& w : weight) w = static_cast<int8_t>(code(random));
    for (float& s : scales) s = static_cast<float>(0.001 * (1 + std::abs(normal(random))));
    const bool quantized = dtype != DT::kFloat16;
    const Range range = range_of(dtype);
    x_scale = quantized ? static_cast<float>(8.0 / (range.high - range.low)) : 1.0f;
    x_offset = range.low == 0 ? -static_cast<int32_t>((range.high + 1) / 2) : 0;
    std::vector<double> real(size_t{rows} * in);
    for (size_t i = 0; i < real.size(); ++i) {
      const double value = normal(random);
      const double stored = quantized ? std::clamp(std::nearbyint(value / x_scale) - x_offset, range.low, range.high) : value;
      set(x, dtype, i, stored);
      real[i] = quantized ? (get(x, dtype, i) + x_offset) * x_scale : get(x, dtype, i);
    }
    y.resize(size_t{rows} * out);
    double largest = 0;
    for (uint32_t r = 0; r < rows; ++r) {
      for (uint32_t o = 0; o < out; ++o) {
        double sum = 0;
        for (uint32_t k = 0; k < in; ++k) sum += real[size_t{r} * in + k] * weight[size_t{o} * in + k] * scales[o];
        y[size_t{r} * out + o] = sum;
        largest = std::max(largest, std::abs(sum));
      }
    }
    y_scale = static_cast<float>(1.9 * largest / (range.high - range.low));  // a little less than needed: some outputs saturate
    y_offset = range.low == 0 ? -static_cast<int32_t>((range.high + 1) / 2) : 0;
  }

  Encoding x_encoding() const { return dtype == DT::kFloat16 ? Encoding::none() : Encoding::scale_offset(x_scale, x_offset); }
  Encoding y_encoding() const { return dtype == DT::kFloat16 ? Encoding::none() : Encoding::scale_offset(y_scale, y_offset); }
  size_t y_bytes() const { return y.size() * element_size(dtype); }

  /// As FullyConnected, weight [out, in], or as Conv2d 1×1, filter [1, 1, in, out].
  Bytes run(const std::shared_ptr<Context>& context, bool conv) const {
    std::vector<int8_t> filter(weight.size());
    for (uint32_t o = 0; o < out; ++o) {
      for (uint32_t k = 0; k < in; ++k) filter[size_t{k} * out + o] = weight[size_t{o} * in + k];
    }
    GraphBuilder builder(context, conv ? "conv" : "fc");
    const std::vector<uint32_t> x_dims = conv ? std::vector<uint32_t>{1, 1, rows, in} : std::vector<uint32_t>{rows, in};
    const std::vector<uint32_t> y_dims = conv ? std::vector<uint32_t>{1, 1, rows, out} : std::vector<uint32_t>{rows, out};
    const TensorRef xt = builder.input(desc("x", dtype, x_dims, x_encoding()));
    const TensorRef wt = conv ? builder.constant(desc("w", DT::kSfixed8, {1, 1, in, out}, Encoding::per_axis(3, scales), bytes_of(filter)))
                              : builder.constant(desc("w", DT::kSfixed8, {out, in}, Encoding::per_axis(0, scales), bytes_of(weight)));
    const TensorRef yt = builder.output(desc("y", dtype, y_dims, y_encoding()));
    builder.node({.name = "linear", .type = conv ? "Conv2d" : "FullyConnected", .inputs = {xt, wt}, .outputs = {yt},
                  .params = conv ? conv_params() : std::vector<ParamDesc>{}});
    Graph graph = builder.finalize();
    Bytes result(y_bytes());
    testing::run(graph, {x}, {result});
    return result;
  }

  /// The largest distance in steps of the output, and the share of equal outputs.
  std::pair<double, double> compare(const Bytes& result) const {
    const Range range = range_of(dtype);
    double largest = 0, equal = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      const double want = std::clamp(std::nearbyint(y[i] / y_scale) - y_offset, range.low, range.high);
      const double distance = std::abs(want - get(result, dtype, i));
      largest = std::max(largest, distance);
      equal += distance == 0;
    }
    return {largest, equal / static_cast<double>(y.size())};
  }

  DT dtype;
  uint32_t rows, in, out;
  std::vector<int8_t> weight;
  std::vector<float> scales;
  Bytes x;
  std::vector<double> y;
  float x_scale = 1, y_scale = 1;
  int32_t x_offset = 0, y_offset = 0;
};

// ------------------------------------------------------------------------------------------------------------------- tests

TEST_F(Htp, TellsWhatItIs) {
  const LibraryInfo& info = library_->info();
  EXPECT_EQ(info.backend_id, abi::BackendId::kHtp);
  EXPECT_EQ(info.provider, "HTP_QTI_AISW");
  EXPECT_FALSE(info.build_id.empty());
  std::printf("%s %s, core %s, backend %s\n", info.provider.c_str(), info.build_id.c_str(), to_string(info.core).c_str(), to_string(info.backend).c_str());
  const std::vector<std::string> ops = backend_->supported_operations();
  for (const char* name : {"Quantize", "Dequantize", "Convert", "FullyConnected", "Conv2d", "RmsNorm", "ElementWiseAdd", "ElementWiseMultiply", "Sigmoid",
                           "Relu", "Reshape", "Gather"}) {
    EXPECT_TRUE(std::binary_search(ops.begin(), ops.end(), name)) << name;
  }
}

TEST_F(Htp, LoadingPrintsNothingOnStandardOutput) { EXPECT_EQ(printed_, ""); }

TEST_F(Htp, EightBitLinearsAreWithinAStepOfTheExactResult) {
  uint32_t seed = 1;
  for (const DT dtype : {DT::kUfixed8, DT::kSfixed8}) {
    for (const auto& shape : std::vector<std::array<uint32_t, 3>>{{1, 32, 32}, {7, 96, 33}, {32, 576, 192}}) {
      const Linear linear(dtype, shape[0], shape[1], shape[2], seed++);
      const auto [largest, equal] = linear.compare(linear.run(context(), false));
      EXPECT_LE(largest, 1) << dtype_name(dtype) << " " << shape[0] << "x" << shape[1] << "x" << shape[2];
      EXPECT_GE(equal, 0.9) << dtype_name(dtype) << " " << shape[0] << "x" << shape[1] << "x" << shape[2];
    }
  }
}

TEST_F(Htp, SixteenBitLinearsAreWithinTwoStepsOfTheExactResult) {
  for (const auto& shape : std::vector<std::array<uint32_t, 3>>{{5, 64, 48}, {16, 1536, 576}}) {
    const Linear linear(DT::kUfixed16, shape[0], shape[1], shape[2], 9 + shape[0]);
    EXPECT_LE(linear.compare(linear.run(context(), false)).first, 2) << shape[1];
  }
}

TEST_F(Htp, HalfFloatLinearsWithByteWeightsAreExactToHalfPrecision) {
  const Linear linear(DT::kFloat16, 16, 576, 192, 21);
  for (const bool conv : {false, true}) {
    const Bytes result = linear.run(context(), conv);
    std::vector<double> got(linear.y.size());
    for (size_t i = 0; i < got.size(); ++i) got[i] = get(result, DT::kFloat16, i);
    EXPECT_LE(nmse(linear.y, got), 1e-6) << (conv ? "Conv2d" : "FullyConnected");
  }
}

TEST_F(Htp, ConvolutionIsTheSameLinearBitForBit) {
  for (const DT dtype : {DT::kUfixed8, DT::kSfixed8, DT::kUfixed16}) {
    const Linear linear(dtype, 16, 576, 192, 31);
    EXPECT_EQ(linear.run(context(), true), linear.run(context(), false)) << dtype_name(dtype);
  }
}

/// RmsNorm → Quantize → linear → Dequantize → Add, which is what a decoder is made of.
struct Chain {
  static constexpr uint32_t kRows = 16, kIn = 576, kOut = 192;

  Chain() : linear(DT::kUfixed8, kRows, kIn, kOut, 41), x(size_t{kRows} * kIn), residual(size_t{kRows} * kOut), gamma(kIn), zeros(kIn) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (uint16_t& v : x) v = f32_to_f16(3 * normal(random));
    for (uint16_t& v : residual) v = f32_to_f16(normal(random));
    for (uint16_t& v : gamma) v = f32_to_f16(1 + 0.1f * normal(random));
  }

  Graph build(const std::shared_ptr<const Context>& context, const std::string& name) const {
    GraphBuilder b(context, name);
    const TensorRef xt = b.input(desc("x", DT::kFloat16, {kRows, kIn})), rt = b.input(desc("residual", DT::kFloat16, {kRows, kOut}));
    const TensorRef gt = b.constant(desc("gamma", DT::kFloat16, {kIn}, {}, bytes_of(gamma)));
    const TensorRef zt = b.constant(desc("beta", DT::kFloat16, {kIn}, {}, bytes_of(zeros)));
    const TensorRef n = b.internal(desc("n", DT::kFloat16, {kRows, kIn}));
    b.node({.name = "norm", .type = "RmsNorm", .inputs = {xt, gt, zt}, .outputs = {n}, .params = norm_params(1)});
    const TensorRef nq = b.internal(desc("nq", DT::kUfixed8, {kRows, kIn}, linear.x_encoding()));
    b.node({.name = "quantize", .type = "Quantize", .inputs = {n}, .outputs = {nq}, .params = {}});
    const TensorRef w = b.constant(desc("w", DT::kSfixed8, {kOut, kIn}, Encoding::per_axis(0, linear.scales), bytes_of(linear.weight)));
    const TensorRef yq = b.internal(desc("yq", DT::kUfixed8, {kRows, kOut}, linear.y_encoding()));
    b.node({.name = "linear", .type = "FullyConnected", .inputs = {nq, w}, .outputs = {yq}, .params = {}});
    const TensorRef y = b.internal(desc("y", DT::kFloat16, {kRows, kOut}));
    b.node({.name = "dequantize", .type = "Dequantize", .inputs = {yq}, .outputs = {y}, .params = {}});
    const TensorRef sum = b.output(desc("sum", DT::kFloat16, {kRows, kOut}));
    b.node({.name = "add", .type = "ElementWiseAdd", .inputs = {y, rt}, .outputs = {sum}, .params = {}});
    return b.finalize();
  }

  /// The same in float64, quantised where the graph quantises.
  std::vector<double> reference() const {
    std::vector<double> out(size_t{kRows} * kOut);
    for (uint32_t r = 0; r < kRows; ++r) {
      double squares = 0;
      std::vector<double> n(kIn);
      for (uint32_t k = 0; k < kIn; ++k) squares += std::pow(f16_to_f32(x[size_t{r} * kIn + k]), 2);
      for (uint32_t k = 0; k < kIn; ++k) {
        const double value = f16_to_f32(x[size_t{r} * kIn + k]) / std::sqrt(squares / kIn + 1e-5) * f16_to_f32(gamma[k]);
        n[k] = (std::clamp(std::nearbyint(value / linear.x_scale) - linear.x_offset, 0.0, 255.0) + linear.x_offset) * linear.x_scale;
      }
      for (uint32_t o = 0; o < kOut; ++o) {
        double sum = 0;
        for (uint32_t k = 0; k < kIn; ++k) sum += n[k] * linear.weight[size_t{o} * kIn + k] * linear.scales[o];
        const double q = std::clamp(std::nearbyint(sum / linear.y_scale) - linear.y_offset, 0.0, 255.0);
        out[size_t{r} * kOut + o] = (q + linear.y_offset) * linear.y_scale + f16_to_f32(residual[size_t{r} * kOut + o]);
      }
    }
    return out;
  }

  Bytes run(Graph& graph, const Profile* profile = nullptr) const {
    Bytes out(size_t{kRows} * kOut * 2);
    testing::run(graph, {bytes_of(x), bytes_of(residual)}, {out}, profile);
    return out;
  }

  Linear linear;
  std::vector<uint16_t> x, residual, gamma, zeros;
};

TEST_F(Htp, AChainOfADecodersOpsComputesWhatTheReferenceDoes) {
  const Chain chain;
  Graph graph = chain.build(context(), "chain");
  const Bytes out = chain.run(graph);
  const std::vector<double> want = chain.reference();
  std::vector<double> got(want.size());
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    got[i] = get(out, DT::kFloat16, i);
    largest = std::max(largest, std::abs(got[i] - want[i]));
  }
  // The norm's half precision moves some quantised inputs by a step, and with them some outputs by a step.
  EXPECT_LE(nmse(want, got), 1e-4);
  EXPECT_LE(largest, 2.1 * chain.linear.y_scale);
}

TEST_F(Htp, GraphsComeOutOfAContextImageUnchanged) {
  const Chain chain;
  Bytes image, first, second;
  {
    const auto made = context();
    Graph a = chain.build(made, "a"), b = chain.build(made, "b");
    first = chain.run(a);
    second = chain.run(b);
    const GraphIds ids[] = {a.ids(), b.ids()};
    image = encode_image("key", *made, ids);
  }
  EXPECT_EQ(first, second);
  const ImageView view = decode_image(image);
  const auto loaded = Context::from_binary(Device::create(Backend::create(library_), kSoc), view.binary);
  const std::vector<TensorDesc> inputs = {desc("x", DT::kFloat16, {Chain::kRows, Chain::kIn}), desc("residual", DT::kFloat16, {Chain::kRows, Chain::kOut})};
  const std::vector<TensorDesc> outputs = {desc("sum", DT::kFloat16, {Chain::kRows, Chain::kOut})};
  Graph b = Graph::retrieve(loaded, *view.find("b"), inputs, outputs);
  Graph a = Graph::retrieve(loaded, *view.find("a"), inputs, outputs);
  image.clear();
  image.shrink_to_fit();  // the context does not need the binary any more
  EXPECT_EQ(chain.run(a), first);
  EXPECT_EQ(chain.run(b), first);
  EXPECT_NE(first, Bytes(first.size()));
  EXPECT_THROW(Graph::retrieve(loaded, {"c", {1, 2}, {3}}, inputs, outputs), Error);
}

TEST_F(Htp, TensorIdsDecideInAnExecution) {
  const Chain chain;
  const auto made = context();
  Graph graph = chain.build(made, "a");
  const GraphIds right = graph.ids();
  const std::vector<TensorDesc> inputs = {desc("any", DT::kFloat16, {Chain::kRows, Chain::kIn}), desc("name", DT::kFloat16, {Chain::kRows, Chain::kOut})};
  const std::vector<TensorDesc> outputs = {desc("will do", DT::kFloat16, {Chain::kRows, Chain::kOut})};
  Graph again = Graph::retrieve(made, right, inputs, outputs);
  EXPECT_EQ(chain.run(again), chain.run(graph));
  Graph wrong = Graph::retrieve(made, {"a", {91, 92}, {93}}, inputs, outputs);
  try {
    chain.run(wrong);
    FAIL() << "ids are not checked";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kQnnCall);
    EXPECT_NE(std::string(error.what()).find("6004"), std::string::npos) << error.what();
  }
}

TEST_F(Htp, GraphsRunOnOtherThreadsAndBesideEachOther) {
  const Chain chain;
  const auto made = context();
  Graph a = chain.build(made, "a"), b = chain.build(made, "b");
  const Bytes want = chain.run(a);
  std::vector<Bytes> got(2);
  std::thread one([&] {
    for (int i = 0; i < 5; ++i) got[0] = chain.run(a);
  });
  std::thread two([&] {
    for (int i = 0; i < 5; ++i) got[1] = chain.run(b);
  });
  one.join();
  two.join();
  EXPECT_EQ(got[0], want);
  EXPECT_EQ(got[1], want);
}

TEST_F(Htp, ARefusedNodeSaysWhyInTheLibrarysWords) {
  const Linear linear(DT::kUfixed8, 4, 32, 32, 51);
  GraphBuilder builder(context(), "layer0");
  const TensorRef x = builder.input(desc("x", DT::kUfixed8, {4, 32}, linear.x_encoding()));
  const TensorRef w = builder.constant(desc("w", DT::kSfixed8, {32, 32}, Encoding::per_axis(0, linear.scales), bytes_of(linear.weight)));
  const TensorRef y = builder.output(desc("y", DT::kFloat16, {4, 32}));
  try {
    builder.node({.name = "q", .type = "FullyConnected", .inputs = {x, w}, .outputs = {y}, .params = {}});
    FAIL() << "U8 in and F16 out was accepted";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ErrorCode::kQnnNode);
    for (const char* part : {"node 'q'", "graph 'layer0'", "x: U8 [4, 32]", "32 scales on axis 0", "y: F16 [4, 32]", "3110", "SFIXED_POINT_8"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " in " << text;
    }
  }
}

TEST_F(Htp, AnUnknownSocIsRefusedAndDoesNoLastingHarm) {
  device_.reset();
  try {
    Device::create(backend_, 4242);
    FAIL() << "SoC 4242 was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kQnnCall);
    EXPECT_NE(std::string(error.what()).find("SoC 4242"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("14001"), std::string::npos) << error.what();
    EXPECT_FALSE(error.remedy().empty());
  }
  device_ = Device::create(backend_, kSoc);
  const Chain chain;
  EXPECT_NO_THROW(chain.build(context(), "a"));
}

TEST_F(Htp, AnotherSocIsRefusedWhileOneIsInUse) {
  for (const std::optional<uint32_t> other : {std::optional<uint32_t>(30), std::optional<uint32_t>()}) {
    try {
      Device::create(Backend::create(library_), other);
      FAIL() << "two SoCs at a time";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kBusy) << error.what();
    }
  }
}

TEST_F(Htp, ADamagedBinaryIsRefused) {
  const Chain chain;
  const auto made = context();
  chain.build(made, "a");
  const Bytes binary = made->binary();
  EXPECT_THROW(Context::from_binary(device_, std::span(binary).first(binary.size() / 2)), Error);
  EXPECT_THROW(Context::from_binary(device_, Bytes(4096)), Error);
}

TEST_F(Htp, ExecutionsAreProfiled) {
  const Chain chain;
  const auto made = context();
  Graph graph = chain.build(made, "a");
  const Profile profile(backend_);
  chain.run(graph, &profile);
  const std::vector<ProfileEvent> events = profile.events();
  ASSERT_FALSE(events.empty());
  bool timed = false;
  for (const ProfileEvent& event : events) {
    timed |= event.unit == abi::ProfileUnit::kMicroseconds && event.value > 0;
    std::printf("%*s%u %s: %llu %s\n", static_cast<int>(2 * event.depth), "", event.type, event.identifier.c_str(),
                static_cast<unsigned long long>(event.value), unit_name(event.unit));
  }
  EXPECT_TRUE(timed);
}

TEST_F(Htp, CompilerOptionsAreTakenAndChangeNothing) {
  const Linear linear(DT::kUfixed8, 4, 64, 64, 61);
  GraphBuilder builder(context(), "g", {.optimization = 3.0f, .vtcm_mb = 8, .hvx_threads = 4});
  const TensorRef x = builder.input(desc("x", DT::kUfixed8, {4, 64}, linear.x_encoding()));
  const TensorRef w = builder.constant(desc("w", DT::kSfixed8, {64, 64}, Encoding::per_axis(0, linear.scales), bytes_of(linear.weight)));
  const TensorRef y = builder.output(desc("y", DT::kUfixed8, {4, 64}, linear.y_encoding()));
  builder.node({.name = "n", .type = "FullyConnected", .inputs = {x, w}, .outputs = {y}, .params = {}});
  Graph graph = builder.finalize();
  Bytes out(linear.y_bytes());
  run(graph, {linear.x}, {out});
  EXPECT_EQ(out, linear.run(context(), false));
}

TEST_F(Htp, TheMostTalkativeLogReachesTheSinkAndEndsWithTheBackend) {
  std::atomic<int> lines{0};
  {
    const auto backend = Backend::create(library_, {.sink = [&](int, std::string_view line) { lines += line.empty() ? 0 : 1; }, .level = abi::LogLevel::kDebug});
    const Chain chain;
    const auto made = Context::create(Device::create(backend, kSoc));
    Graph graph = chain.build(made, "a");
    chain.run(graph);
  }
  EXPECT_GT(lines, 10);
  const int at_end = lines;
  context();
  EXPECT_EQ(lines, at_end);
}

// Made before the library is loaded, so destroyed after the library's own exit handlers have run.
std::shared_ptr<Context> left_until_exit;

TEST_F(Htp, HandlesThatOutliveTheProcessAreNotFreedIntoADeadLibrary) {
  left_until_exit = context();  // the process aborts at its end if this goes wrong
  const Chain chain;
  chain.build(left_until_exit, "a");
}

TEST_F(Htp, AVoteForClocksIsHarmlessWhereThereAreNone) { EXPECT_NO_THROW(device_->vote(PowerMode::kBurst)); }

}  // namespace
}  // namespace lutra::qnn
