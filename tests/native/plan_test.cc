// Plan reader, validator, memory plan, executor and engine on a one-layer decoder without MLP.
#include <gtest/gtest.h>

#include <cmath>
#include <algorithm>
#include <functional>
#include <numeric>
#include <random>

#include "base/error.h"
#include "plan/memory.h"
#include "session/engine.h"
#include "tiny_engine.h"

namespace lutra {
namespace {

using namespace test;
using Weights = test::TinyWeights;

using Matrix = std::vector<std::vector<double>>;

Matrix times(const Matrix& x, const std::vector<float>& w, size_t cols) {
  Matrix y(x.size(), std::vector<double>(w.size() / cols));
  for (size_t r = 0; r < x.size(); ++r) {
    for (size_t o = 0; o < y[r].size(); ++o) {
      for (size_t i = 0; i < cols; ++i) y[r][o] += x[r][i] * w[o * cols + i];
    }
  }
  return y;
}

Matrix norm(const Matrix& x, const std::vector<float>& gain) {
  Matrix y = x;
  for (auto& row : y) {
    double sum = 0;
    for (double v : row) sum += v * v;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(row.size()) + 1e-5);
    for (size_t i = 0; i < row.size(); ++i) row[i] *= scale * gain[i];
  }
  return y;
}

void rope(Matrix& x) {
  for (size_t r = 0; r < x.size(); ++r) {
    for (size_t h = 0; h < x[r].size(); h += kHeadDim) {
      for (size_t i = 0; i < kHeadDim / 2; ++i) {
        const double angle = static_cast<double>(r) * std::pow(10000.0, -2.0 * static_cast<double>(i) / kHeadDim);
        const double a = x[r][h + i], b = x[r][h + i + kHeadDim / 2];
        x[r][h + i] = a * std::cos(angle) - b * std::sin(angle);
        x[r][h + i + kHeadDim / 2] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
  }
}

/// Logits of all positions, in double.
Matrix reference(Weights& w, const std::vector<uint32_t>& tokens) {
  Matrix x;
  for (uint32_t t : tokens) x.emplace_back(w.values["embed"].begin() + t * kHidden, w.values["embed"].begin() + (t + 1) * kHidden);
  const Matrix n = norm(x, w.values["gain"]);
  Matrix q = times(n, w.values["q"], kHidden), k = times(n, w.values["k"], kHidden), v = times(n, w.values["v"], kHidden);
  rope(q);
  rope(k);
  Matrix a(x.size(), std::vector<double>(32));
  for (size_t r = 0; r < x.size(); ++r) {
    for (size_t h = 0; h < kHeads; ++h) {
      std::vector<double> p(r + 1);
      double sum = 0;
      for (size_t s = 0; s <= r; ++s) {
        for (size_t i = 0; i < kHeadDim; ++i) p[s] += q[r][h * kHeadDim + i] * k[s][i];
        sum += p[s] = std::exp(p[s] * 0.25);
      }
      for (size_t s = 0; s <= r; ++s) {
        for (size_t i = 0; i < kHeadDim; ++i) a[r][h * kHeadDim + i] += p[s] / sum * v[s][i];
      }
    }
  }
  const Matrix o = times(a, w.values["o"], 32);
  for (size_t r = 0; r < x.size(); ++r) {
    for (size_t i = 0; i < kHidden; ++i) x[r][i] += o[r][i];
  }
  return times(norm(x, w.values["gain"]), w.values["embed"], kHidden);
}

session::Engine make_engine(const Weights& w, uint32_t threads = 1, kv::Type kv = kv::Type::kF32, bool keep_activations = true) {
  session::EngineOptions options;
  options.plan = tiny_plan(kv);
  options.files = {w.file};
  options.threads = threads;
  options.keep_activations = keep_activations;
  return session::Engine(std::move(options));
}

ErrorCode code_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kInternal;
}

TEST(Engine, AgreesWithADoubleReferenceAtEveryChunking) {
  Weights w;
  for (uint32_t length : {1u, 7u, 8u, 9u, 16u, 21u}) {
    for (uint32_t threads : {1u, 2u}) {
      const auto tokens = some_tokens(length);
      const Matrix expected = reference(w, tokens);
      auto engine = make_engine(w, threads);
      const auto logits = engine.prefill(tokens, session::LogitsWanted::kAll, "cpu");
      ASSERT_EQ(logits.size(), static_cast<size_t>(length) * kVocab);
      double largest = 0;
      for (uint32_t r = 0; r < length; ++r) {
        for (uint32_t i = 0; i < kVocab; ++i) {
          EXPECT_NEAR(logits[r * kVocab + i], expected[r][i], 2e-5) << length << " " << r << " " << i;
          largest = std::max(largest, std::fabs(expected[r][i]));
        }
      }
      EXPECT_GT(largest, 0.5);
      EXPECT_EQ(engine.length(), length);
    }
  }
}

TEST(Engine, TokenByTokenEqualsOneCallAndTruncateGoesBack) {
  Weights w;
  const auto tokens = some_tokens(13);
  auto whole = make_engine(w), single = make_engine(w);
  const auto expected = whole.prefill(tokens, session::LogitsWanted::kLast, "cpu");
  std::vector<float> last;
  for (uint32_t t : tokens) last = single.prefill({&t, 1}, session::LogitsWanted::kLast, "cpu");
  for (uint32_t i = 0; i < kVocab; ++i) EXPECT_NEAR(last[i], expected[i], 1e-5);
  single.truncate(5);
  last = single.prefill(std::span(tokens).subspan(5), session::LogitsWanted::kLast, "cpu");
  for (uint32_t i = 0; i < kVocab; ++i) EXPECT_NEAR(last[i], expected[i], 1e-5);
}

TEST(Engine, SmallerCachesStayClose) {
  Weights w;
  const auto tokens = some_tokens(20);
  const Matrix expected = reference(w, tokens);
  for (const auto& [type, least, most] : {std::tuple{kv::Type::kF16, 1e-10, 1e-6}, std::tuple{kv::Type::kI8, 1e-6, 1e-4}}) {
    // In chunks, and token by token as decode does.
    for (const bool chunked : {true, false}) {
      auto engine = make_engine(w, 2, type);
      double error = 0, power = 0;
      for (uint32_t r = 0; r < 20; r += chunked ? 20 : 1) {
        const auto logits = engine.prefill(std::span(tokens).subspan(r, chunked ? 20 : 1), session::LogitsWanted::kAll, "cpu");
        for (uint32_t i = 0; i < logits.size(); ++i) {
          const double value = expected[r + i / kVocab][i % kVocab];
          error += std::pow(logits[i] - value, 2);
          power += std::pow(value, 2);
        }
      }
      EXPECT_LT(error / power, most) << static_cast<uint32_t>(type) << " " << chunked;
      EXPECT_GT(error / power, least) << static_cast<uint32_t>(type) << " " << chunked << ": was the cache rounded at all?";
    }
  }
}

TEST(Engine, GeneratesWhatStepByStepArgmaxGivesAndKeepsDeliveredTokensInTheCache) {
  Weights w;
  const auto prompt = some_tokens(6);
  auto engine = make_engine(w), stepper = make_engine(w);
  engine.prefill(prompt, session::LogitsWanted::kLast, "cpu");
  session::GenerateOptions options;
  options.max_tokens = 10;
  options.run_ahead = 100;
  std::vector<uint32_t> tokens;
  const auto result = engine.generate(options, [&](uint32_t t, auto) { tokens.push_back(t); });
  EXPECT_EQ(result.reason, session::FinishReason::kLength);
  ASSERT_EQ(tokens.size(), 10u);
  EXPECT_EQ(engine.length(), 16u);
  auto logits = stepper.prefill(prompt, session::LogitsWanted::kLast, "cpu");
  for (uint32_t t : tokens) {
    EXPECT_EQ(static_cast<uint32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin()), t);
    logits = stepper.prefill({&t, 1}, session::LogitsWanted::kLast, "cpu");
  }
  auto stopped = make_engine(w);
  stopped.prefill(prompt, session::LogitsWanted::kLast, "cpu");
  options.stop_tokens = {tokens[0]};
  EXPECT_EQ(stopped.generate(options, [](uint32_t, auto) { FAIL(); }).reason, session::FinishReason::kStop);
}

TEST(Engine, FillsTheContextAndNoMore) {
  Weights w;
  auto engine = make_engine(w);
  const auto prompt = some_tokens(kContext - 2);
  engine.prefill(prompt, session::LogitsWanted::kLast, "cpu");
  session::GenerateOptions options;
  options.max_tokens = 10;
  options.run_ahead = 100;
  const auto result = engine.generate(options, [](uint32_t, auto) {});
  EXPECT_EQ(result.reason, session::FinishReason::kContext);
  EXPECT_EQ(result.tokens, 3u);
  EXPECT_EQ(engine.length(), kContext);
  EXPECT_EQ(code_of([&] { engine.prefill(some_tokens(1), session::LogitsWanted::kLast, "cpu"); }), ErrorCode::kContextFull);
}

TEST(Engine, RefusesBadInputAndStaysUsable) {
  Weights w;
  auto engine = make_engine(w);
  const std::vector<uint32_t> foreign{kVocab};
  EXPECT_EQ(code_of([&] { engine.prefill(foreign, session::LogitsWanted::kLast, "cpu"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { engine.prefill({}, session::LogitsWanted::kLast, "cpu"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { engine.prefill(some_tokens(2), session::LogitsWanted::kLast, "gpu"); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { engine.generate({}, [](uint32_t, auto) {}); }), ErrorCode::kInvalidArgument);
  EXPECT_EQ(code_of([&] { engine.truncate(1); }), ErrorCode::kInvalidArgument);
  engine.stop();
  EXPECT_EQ(code_of([&] { engine.prefill(some_tokens(9), session::LogitsWanted::kLast, "cpu"); }), ErrorCode::kAborted);
  engine.clear_stop();
  EXPECT_EQ(engine.length(), 0u);
  EXPECT_EQ(engine.prefill(some_tokens(9), session::LogitsWanted::kLast, "cpu").size(), kVocab);
}

TEST(Engine, ObservesAndPeeks) {
  Weights w;
  auto engine = make_engine(w);
  engine.prefill(some_tokens(5), session::LogitsWanted::kNone, "cpu");
  const auto values = engine.peek("y");
  ASSERT_EQ(values.size(), 5u * kHidden);
  const auto& o = engine.observations().at(3);
  ASSERT_EQ(o.columns(), size_t{kHidden});
  std::vector<double> seen(o.value_count());
  o.values(seen);
  EXPECT_EQ(seen[0], 5.0 * kHidden);
  EXPECT_EQ(seen[1], *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(seen[2], *std::max_element(values.begin(), values.end()));
  EXPECT_EQ(code_of([&] { engine.peek("nothing"); }), ErrorCode::kNotFound);
  EXPECT_EQ(code_of([&] { engine.peek("embed"); }), ErrorCode::kNotFound) << "a weight";
  auto sharing = make_engine(w, 1, kv::Type::kF32, false);
  sharing.prefill(some_tokens(5), session::LogitsWanted::kNone, "cpu");
  EXPECT_EQ(code_of([&] { sharing.peek("y"); }), ErrorCode::kInvalidArgument);
}

TEST(Memory, LiveTensorsNeverOverlapAndDeadOnesShare) {
  const auto p = plan::Plan::parse(tiny_plan());
  const auto shared = plan::plan_memory(p, false), apart = plan::plan_memory(p, true);
  EXPECT_LT(shared.bytes, apart.bytes);
  const auto& steps = p.programs[0].steps;
  const auto life = [&](uint32_t t) {
    std::pair<size_t, size_t> l{steps.size(), 0};
    for (size_t s = 0; s < steps.size(); ++s) {
      for (const auto* list : {&steps[s].inputs, &steps[s].outputs}) {
        if (std::find(list->begin(), list->end(), t) != list->end()) l = {std::min(l.first, s), s};
      }
    }
    return l;
  };
  for (uint32_t a = 0; a < p.tensors.size(); ++a) {
    for (uint32_t b = 0; b < a; ++b) {
      if (shared.offsets[a] == plan::MemoryPlan::kAbsent || shared.offsets[b] == plan::MemoryPlan::kAbsent) continue;
      const auto la = life(a), lb = life(b);
      if (la.first > lb.second || lb.first > la.second) continue;
      const size_t ea = shared.offsets[a] + plan::activation_bytes(p, p.tensors[a]), eb = shared.offsets[b] + plan::activation_bytes(p, p.tensors[b]);
      EXPECT_TRUE(ea <= shared.offsets[b] || eb <= shared.offsets[a]) << p.tensors[a].name << " and " << p.tensors[b].name;
    }
  }
}

TEST(Plan, EveryFlippedBitIsFound) {
  const auto good = tiny_plan();
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    auto bad = good;
    bad[bit / 8] ^= std::byte{1} << bit % 8;
    EXPECT_EQ(code_of([&] { plan::Plan::parse(bad); }), ErrorCode::kBadPlan) << "bit " << bit;
  }
}

// What the checksum does not find, because it was made for these bytes.
TEST(Plan, NonsenseUnderARightChecksumGivesOneErrorOrAPlanThatRuns) {
  const auto good = tiny_plan();
  EXPECT_NO_THROW(plan::Plan::parse(good));
  EXPECT_EQ(code_of([&] { plan::Plan::parse(std::span(good).first(good.size() - 8)); }), ErrorCode::kBadPlan);
  EXPECT_EQ(code_of([&] { plan::Plan::parse({}); }), ErrorCode::kBadPlan);
  std::mt19937 random(9);
  size_t refused = 0;
  constexpr uint32_t values[] = {0, 1, 2, 7, 63, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffe, 0x3f800000, 0x7ff00000};
  for (size_t at = 0; at + 4 <= good.size(); at += 4) {
    for (uint32_t value : values) {
      auto bad = good;
      std::memcpy(bad.data() + at, &value, 4);
      test::seal(bad);
      try {
        plan::Plan::parse(bad);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kBadPlan);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 1000u);
}

/// A plan whose second step reads operands from `operand` on; the first step's are 0 and 1.
std::vector<std::byte> two_steps(uint32_t operand) {
  test::PlanWriter p({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, 1});
  const uint32_t embed = p.tensor("embed", DType::kF16, TensorKind::kWeight, RowsKind::kFixed, {kVocab, kHidden}, "embed");
  const uint32_t x = p.tensor("x", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  p.step(StepOp::kEmbed, {embed}, {x});
  p.step(StepOp::kEmbed, {embed}, {x});
  p.program("cpu", plan::kNoIndex);
  auto bytes = p.encode();
  uint32_t steps;
  std::memcpy(&steps, bytes.data() + 4 * (plan::kHeaderWords + 2 * static_cast<uint32_t>(plan::Section::kSteps)), 4);
  std::memcpy(bytes.data() + steps + 4 * (plan::kStepWords + 1), &operand, 4);
  test::seal(bytes);
  return bytes;
}

// Records that share others would let a small file describe endless work.
TEST(Plan, RecordsThatTwoReferToAreRefused) {
  EXPECT_NO_THROW(plan::Plan::parse(two_steps(2)));
  EXPECT_EQ(code_of([] { plan::Plan::parse(two_steps(0)); }), ErrorCode::kBadPlan);
  auto overlapping = tiny_plan();
  const size_t strings = 4 * (plan::kHeaderWords + 2 * static_cast<uint32_t>(plan::Section::kStrings));
  std::memcpy(overlapping.data() + strings, overlapping.data() + strings - 8, 4);  // begins where the config begins
  test::seal(overlapping);
  EXPECT_EQ(code_of([&] { plan::Plan::parse(overlapping); }), ErrorCode::kBadPlan);
}

/// A plan that hands on x in the order `order`.
std::vector<std::byte> permuted(DType order, uint32_t length, TensorKind kind = TensorKind::kWeight) {
  test::PlanWriter p({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, 1});
  const uint32_t embed = p.tensor("embed", DType::kF16, TensorKind::kWeight, RowsKind::kFixed, {kVocab, kHidden}, "embed");
  const uint32_t x = p.tensor("x", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  const uint32_t o = p.tensor("o", order, kind, RowsKind::kFixed, {length}, kind == TensorKind::kWeight ? "o" : "");
  const uint32_t y = p.tensor("y", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  p.step(StepOp::kEmbed, {embed}, {x});
  p.step(StepOp::kPermute, {x, o}, {y});
  p.program("cpu", plan::kNoIndex);
  return p.encode();
}

TEST(Plan, AnOrderHasANumberForEachColumn) {
  EXPECT_NO_THROW(plan::Plan::parse(permuted(DType::kU32, kHidden)));
  EXPECT_EQ(code_of([] { plan::Plan::parse(permuted(DType::kU32, kHidden - 1)); }), ErrorCode::kBadPlan);
  EXPECT_EQ(code_of([] { plan::Plan::parse(permuted(DType::kF32, kHidden)); }), ErrorCode::kBadPlan);
  EXPECT_EQ(code_of([] { plan::Plan::parse(permuted(DType::kU32, kHidden, TensorKind::kActivation)); }), ErrorCode::kBadPlan);
}

/// A plan whose rows come from a table [rows, kHidden].
std::vector<std::byte> stored(uint32_t rows, DType dtype = DType::kF32) {
  test::PlanWriter p({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, 1});
  const uint32_t table = p.tensor("table", dtype, TensorKind::kWeight, RowsKind::kFixed, {rows, kHidden}, "table");
  const uint32_t x = p.tensor("x", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  p.step(StepOp::kStoredRows, {table}, {x});
  p.program("cpu", plan::kNoIndex);
  return p.encode();
}

TEST(Plan, ATableHasARowForEachPosition) {
  EXPECT_NO_THROW(plan::Plan::parse(stored(kContext)));
  EXPECT_NO_THROW(plan::Plan::parse(stored(kContext + 1)));
  EXPECT_EQ(code_of([] { plan::Plan::parse(stored(kContext - 1)); }), ErrorCode::kBadPlan);
  EXPECT_EQ(code_of([] { plan::Plan::parse(stored(kContext, DType::kF16)); }), ErrorCode::kBadPlan);
}

/// A plan that rotates x by a matrix [rows, cols] and a diagonal of `length`.
std::vector<std::byte> rotated(uint32_t rows, uint32_t cols, uint32_t length, DType dtype = DType::kF32, double inverse = 0) {
  test::PlanWriter p({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, 1});
  const uint32_t embed = p.tensor("embed", DType::kF16, TensorKind::kWeight, RowsKind::kFixed, {kVocab, kHidden}, "embed");
  const uint32_t x = p.tensor("x", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  const uint32_t d = p.tensor("d", DType::kF32, TensorKind::kWeight, RowsKind::kFixed, {length}, "d");
  const uint32_t m = p.tensor("m", dtype, TensorKind::kWeight, RowsKind::kFixed, {rows, cols}, "m");
  const uint32_t y = p.tensor("y", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  p.step(StepOp::kEmbed, {embed}, {x});
  p.step(StepOp::kRotate, {x, d, m}, {y}, {inverse});
  p.program("cpu", plan::kNoIndex);
  return p.encode();
}

TEST(Plan, ARotationFitsItsColumns) {
  const auto refused = [](const std::vector<std::byte>& bytes) { return code_of([&] { plan::Plan::parse(bytes); }) == ErrorCode::kBadPlan; };
  EXPECT_NO_THROW(plan::Plan::parse(rotated(1, 1, kHidden)));
  EXPECT_NO_THROW(plan::Plan::parse(rotated(2, 2, kHidden, DType::kF32, 1)));
  EXPECT_TRUE(refused(rotated(3, 3, kHidden)));                    // does not divide the columns
  EXPECT_TRUE(refused(rotated(1, 2, kHidden)));                    // not square
  EXPECT_TRUE(refused(rotated(2 * kHidden, 2 * kHidden, kHidden)));
  EXPECT_TRUE(refused(rotated(1, 1, kHidden - 1)));
  EXPECT_TRUE(refused(rotated(1, 1, kHidden, DType::kF16)));
  EXPECT_TRUE(refused(rotated(1, 1, kHidden, DType::kF32, 2)));
}

TEST(Plan, WeightsOfTheWrongSizeAreNamed) {
  Weights w;
  session::EngineOptions options;
  test::PlanWriter p({kVocab, kHidden, 1, kHeads, kKvHeads, kHeadDim, kContext, kChunk, 1});
  const uint32_t embed = p.tensor("embed", DType::kF16, TensorKind::kWeight, RowsKind::kFixed, {kVocab, kHidden}, "embed");
  const uint32_t x = p.tensor("x", DType::kF32, TensorKind::kActivation, RowsKind::kChunk, {kChunk, kHidden});
  p.step(StepOp::kEmbed, {embed}, {x});
  p.program("cpu", plan::kNoIndex);
  options.plan = p.encode();
  options.files = {w.file};
  try {
    session::Engine engine(std::move(options));
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadFile);
    EXPECT_NE(std::string(e.what()).find("'embed'"), std::string::npos);
  }
}

}  // namespace
}  // namespace lutra
