// An engine whose owner submits calls while other threads acknowledge and stop, and which is destroyed at any moment: what the addon does, in random
// schedules. Built with ThreadSanitizer this finds races; built without, it finds wrong states.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "session/engine.h"
#include "tiny_engine.h"

namespace lutra {
namespace {

using namespace test;
using session::Engine;
using session::FinishReason;
using session::LogitsWanted;

/// How many schedules a test runs: enough for every build, or LUTRA_SCHEDULES.
uint32_t schedules() {
  const char* wanted = std::getenv("LUTRA_SCHEDULES");
  return wanted == nullptr ? 400 : static_cast<uint32_t>(std::strtoul(wanted, nullptr, 10));
}

struct Random {
  explicit Random(uint32_t seed) : engine(seed) {}
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(engine() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  /// Waits for nothing, for a time slice, or for up to `us` microseconds.
  void pause(uint32_t us) {
    switch (below(3)) {
      case 0: return;
      case 1: return std::this_thread::yield();
      default: std::this_thread::sleep_for(std::chrono::microseconds(below(us)));
    }
  }
  std::mt19937 engine;
};

session::EngineOptions options_of(const TinyWeights& weights, Random& random) {
  session::EngineOptions options;
  options.plan = tiny_plan(kv::Type::kF32, true);
  options.files = {weights.file};
  options.threads = 1 + random.below(3);
  options.npu.kind = session::NpuOptions::Kind::kHost;
  return options;
}

/// One engine with the threads around it. The thread that makes a schedule is the owner.
class Schedule {
 public:
  Schedule(const TinyWeights& weights, uint32_t seed) : random_(seed), engine_(options_of(weights, random_)), reader_([this, seed] { read(seed + 1); }), stopper_([this, seed] { stop(seed + 2); }) {}

  void run() {
    for (uint32_t calls = 1 + random_.below(4); calls > 0; --calls) {
      clear_stop();
      std::thread worker([this, prefills = random_.one_in(2), seed = random_.engine()] { prefills ? prefill(Random(seed)) : generate(Random(seed)); });
      // The owner leaves it alone, or disposes of it in the middle.
      if (random_.one_in(3)) {
        random_.pause(400);
        stop_now();
        calls = 1;
      }
      worker.join();
    }
    ending_ = true;
    reader_.join();
    stopper_.join();
  }

 private:
  void stop_now() {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    engine_.stop();
  }
  void clear_stop() {
    const std::lock_guard lock(mutex_);
    stopped_ = false;
    engine_.clear_stop();
  }

  void prefill(Random random) {
    const uint32_t before = engine_.length();
    const uint32_t rows = 1 + random.below(kContext);
    try {
      const auto logits = engine_.prefill(some_tokens(rows), random.one_in(2) ? LogitsWanted::kAll : LogitsWanted::kLast, random.one_in(2) ? "npu" : "cpu");
      EXPECT_EQ(engine_.length(), before + rows);
      EXPECT_EQ(logits.size() % kVocab, 0u);
    } catch (const Error& e) {
      EXPECT_TRUE((e.code() == ErrorCode::kAborted && stopped_) || (e.code() == ErrorCode::kContextFull && before + rows > kContext)) << e.what();
      EXPECT_EQ(engine_.length(), before);
    }
    if (random.one_in(4)) engine_.truncate(random.below(engine_.length() + 1));
  }

  void generate(Random random) {
    try {
      if (engine_.length() >= kContext - 1) engine_.truncate(1);
      engine_.prefill(some_tokens(1), LogitsWanted::kLast, "cpu");
      const uint32_t before = engine_.length();
      session::GenerateOptions options;
      options.max_tokens = 1 + random.below(kContext);
      options.run_ahead = random.below(6);
      delivered_ = 0;
      const auto result = engine_.generate(options, [this](uint32_t token, auto) {
        EXPECT_LT(token, kVocab);
        ++delivered_;
      });
      EXPECT_EQ(result.tokens, delivered_);
      EXPECT_EQ(engine_.length(), before + result.tokens - (result.reason == FinishReason::kContext ? 1 : 0));
      if (result.reason == FinishReason::kAborted) {
        EXPECT_TRUE(stopped_);
      }
    } catch (const Error& e) {
      EXPECT_TRUE(e.code() == ErrorCode::kAborted && stopped_) << e.what();
    }
    delivered_ = 0;
  }

  /// Takes tokens as they come, or slowly; now and then takes none for a while. Asks for the times meanwhile.
  void read(uint32_t seed) {
    Random random(seed);
    while (!ending_) {
      if (delivered_ > 0 && !random.one_in(4)) engine_.acknowledge(1);
      EXPECT_LE(engine_.timings().prefill_tokens, kContext);
      random.pause(60);
    }
  }

  /// A reader may wait for a token that never comes, so somebody always stops in the end.
  void stop(uint32_t seed) {
    Random random(seed);
    while (!ending_) {
      std::this_thread::sleep_for(std::chrono::microseconds(50 + random.below(600)));
      stop_now();
    }
  }

  Random random_;
  Engine engine_;
  std::mutex mutex_;  // so that `stopped_` says what the engine was told
  std::atomic<bool> ending_{false}, stopped_{false};
  std::atomic<uint32_t> delivered_{0};
  std::thread reader_, stopper_;
};

TEST(EngineRaces, CallsStopsAcknowledgementsAndTheEndInAnyOrder) {
  const TinyWeights weights;
  for (uint32_t i = 0; i < schedules() && !HasFailure(); ++i) {
    SCOPED_TRACE("schedule " + std::to_string(i));
    Schedule(weights, 3 * i).run();
  }
}

TEST(EngineRaces, EnginesSideBySideDoNotDisturbEachOther) {
  const TinyWeights weights;
  Random random(1);
  Engine alone(options_of(weights, random));
  const auto expected = alone.prefill(some_tokens(21), LogitsWanted::kLast, "npu");
  for (uint32_t i = 0; i < schedules() / 10; ++i) {
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < 3; ++t) {
      threads.emplace_back([&weights, &expected, seed = 3 * i + t] {
        Random own(seed);
        Engine engine(options_of(weights, own));
        EXPECT_EQ(engine.prefill(some_tokens(21), LogitsWanted::kLast, "npu"), expected);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
}

}  // namespace
}  // namespace lutra
