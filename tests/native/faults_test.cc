// An engine on a library that misbehaves: every failing call is one typed error, leaves the cache as it was and loses nothing; calls that hang are noticed.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/work_thread.h"
#include "faulty_library.h"
#include "session/engine.h"
#include "tiny_engine.h"

namespace lutra {
namespace {

using namespace test;
using namespace std::chrono_literals;
using qnn::abi::Slot;
using session::CallWatch;
using session::Engine;
using session::LogitsWanted;

struct NamedSlot {
  const char* name;
  Slot slot;
};

/// What an engine with a context cache calls, in about this order.
constexpr NamedSlot kCalled[] = {
    {"backendGetBuildId", Slot::kBackendGetBuildId}, {"logCreate", Slot::kLogCreate},
    {"backendCreate", Slot::kBackendCreate}, {"deviceCreate", Slot::kDeviceCreate},
    {"contextCreate", Slot::kContextCreate}, {"graphCreate", Slot::kGraphCreate},
    {"tensorCreateGraphTensor", Slot::kTensorCreateGraphTensor}, {"backendValidateOpConfig", Slot::kBackendValidateOpConfig},
    {"graphAddNode", Slot::kGraphAddNode}, {"graphFinalize", Slot::kGraphFinalize},
    {"contextGetBinarySize", Slot::kContextGetBinarySize}, {"contextGetBinary", Slot::kContextGetBinary},
    {"contextCreateFromBinary", Slot::kContextCreateFromBinary}, {"graphRetrieve", Slot::kGraphRetrieve},
    {"deviceGetInfrastructure", Slot::kDeviceGetInfrastructure}, {"graphExecute", Slot::kGraphExecute},
    {"contextFree", Slot::kContextFree}, {"deviceFree", Slot::kDeviceFree},
    {"backendFree", Slot::kBackendFree}, {"logFree", Slot::kLogFree},
};

constexpr std::pair<NamedSlot, NamedSlot> kOwned[] = {
    {{"logCreate", Slot::kLogCreate}, {"logFree", Slot::kLogFree}},
    {{"backendCreate", Slot::kBackendCreate}, {"backendFree", Slot::kBackendFree}},
    {{"deviceCreate", Slot::kDeviceCreate}, {"deviceFree", Slot::kDeviceFree}},
};

class Faults : public ::testing::Test {
 protected:
  session::EngineOptions options(const FaultyLibrary& library, const std::string& cache = "") {
    session::EngineOptions o;
    o.plan = tiny_plan(kv::Type::kF32, true);
    o.files = {weights_.file};
    o.npu = {session::NpuOptions::Kind::kLibrary, library.path(), std::nullopt};
    o.cache = {cache, "key"};
    return o;
  }

  /// Opens, prefills twice, closes. Errors are typed, the cache is what it was before, and the next request works.
  /// Returns the code of the first error, or nothing.
  std::optional<ErrorCode> use(const FaultyLibrary& library, const std::string& cache) {
    std::optional<ErrorCode> code;
    const auto note = [&code](const Error& error) {
      EXPECT_GT(std::string(error.what()).size(), 15u);
      if (!code) code = error.code();
    };
    try {
      Engine engine(options(library, cache));
      for (int attempt = 0; attempt < 2; ++attempt) {
        const uint32_t before = engine.length();
        try {
          const auto logits = engine.prefill(tokens_, LogitsWanted::kLast, "npu");
          engine.truncate(before);
          EXPECT_EQ(logits, expected_);
        } catch (const Error& error) {
          note(error);
          EXPECT_EQ(engine.length(), before);
        }
        EXPECT_EQ(engine.prefill(tokens_, LogitsWanted::kLast, "cpu").size(), expected_.size());
        engine.truncate(before);
      }
    } catch (const Error& error) {
      note(error);
    }
    return code;
  }

  static void expect_all_freed(const FaultyLibrary& library, const std::string& what) {
    for (const auto& [create, free] : kOwned) EXPECT_EQ(library.successes(create.slot), library.calls(free.slot)) << what << ": " << create.name << ", " << free.name;
    EXPECT_EQ(library.successes(Slot::kContextCreate) + library.successes(Slot::kContextCreateFromBinary), library.calls(Slot::kContextFree)) << what;
  }

  void SetUp() override {
    FaultyLibrary sound;
    cache_ = (std::filesystem::path(sound.path()).parent_path() / "cache").string();
    Engine engine(options(sound, cache_));
    expected_ = engine.prefill(tokens_, LogitsWanted::kLast, "npu");
    for (const NamedSlot& one : kCalled) counts_.push_back(sound.calls(one.slot));
  }

  TinyWeights weights_;
  std::vector<uint32_t> tokens_{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  std::vector<float> expected_;
  std::string cache_;
  std::vector<uint64_t> counts_;  // calls of kCalled in a run without faults
};

/// A library may go on without these, or their failure comes too late to matter.
bool may_fail_unnoticed(const std::string& name) {
  for (const char* harmless : {"backendGetBuildId", "logCreate", "deviceGetInfrastructure", "contextGetBinarySize", "contextGetBinary", "contextCreateFromBinary", "graphRetrieve", "contextFree",
                               "deviceFree", "backendFree", "logFree"}) {
    if (name == harmless) return true;
  }
  return false;
}

TEST_F(Faults, AFailingCallIsOneTypedErrorWhereverItComes) {
  const auto directory = std::filesystem::temp_directory_path() / ("lutra-faults-" + std::to_string(::getpid()));
  std::filesystem::create_directory(directory);
  size_t struck = 0;
  for (size_t i = 0; i < std::size(kCalled); ++i) {
    const std::string name = kCalled[i].name;
    const uint64_t last = std::max<uint64_t>(1, counts_[i]);
    for (const uint64_t nth : std::set<uint64_t>{1, (last + 1) / 2, last}) {
      const std::string which = name + " " + std::to_string(nth);
      FaultyLibrary library("fail " + which + " " + std::to_string(nth) + " 1100");
      const std::string cache = (directory / (name + std::to_string(nth))).string();
      // The second start finds what the first has kept, and asks for it.
      for (int start = 0; start < 2; ++start) {
        const auto code = use(library, cache);
        EXPECT_TRUE(!code || *code == ErrorCode::kQnnCall || *code == ErrorCode::kQnnNode) << which << ": " << error_code_name(*code);
        EXPECT_TRUE(code || start == 1 || may_fail_unnoticed(name)) << which;
        EXPECT_FALSE(code && start == 1) << which << " of the second start";
      }
      EXPECT_GE(library.calls(kCalled[i].slot), nth) << which << " was never called";
      ++struck;
      expect_all_freed(library, which);
    }
  }
  EXPECT_GE(struck, 25u);
  std::filesystem::remove_all(directory);
}

TEST_F(Faults, AnEmptyEntryIsDoneWithoutOrNamed) {
  for (const NamedSlot& one : kCalled) {
    FaultyLibrary library(std::string("null ") + one.name);
    std::string message;
    try {
      Engine engine(options(library, std::filesystem::path(library.path()).replace_filename("cache").string()));
      EXPECT_EQ(engine.prefill(tokens_, LogitsWanted::kLast, "npu"), expected_) << one.name;
      EXPECT_TRUE(may_fail_unnoticed(one.name) || std::string(one.name) == "deviceCreate") << one.name;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kNotQnn) << one.name << ": " << error.what();
      EXPECT_NE(std::string(error.what()).find(one.name), std::string::npos) << error.what();
    }
  }
}

TEST_F(Faults, ALogThatFloodsFromOtherThreadsHoldsNothingUp) {
  FaultyLibrary library("flood 2");
  std::atomic<uint64_t> lines{0};
  auto o = options(library);
  o.log = {[&lines](int, std::string_view) { ++lines; }, qnn::abi::LogLevel::kWarn};
  {
    Engine engine(std::move(o));
    for (int i = 0; i < 20 || lines < 100; ++i) {
      EXPECT_EQ(engine.prefill(tokens_, LogitsWanted::kLast, "npu"), expected_);
      engine.truncate(0);
    }
  }
  expect_all_freed(library, "flood");
}

struct Reported {
  CallWatch::Report report() {
    return [this](const std::string& said) {
      const std::lock_guard lock(mutex);
      what = said;
      ++times;
      changed.notify_all();
    };
  }
  bool wait(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, limit, [this] { return times > 0; });
  }
  std::mutex mutex;
  std::condition_variable changed;
  std::string what;
  int times = 0;
};

TEST_F(Faults, AnExecutionThatHangsIsReportedAndTheThreadLeftBehindTidiesUpIfItEverReturns) {
  FaultyLibrary library("hang graphExecute 2 0");
  Reported reported;
  std::atomic<bool> failed{false};
  {
    auto watch = std::make_shared<CallWatch>(100ms, reported.report());
    auto o = options(library);
    o.watch = watch;
    WorkThread thread;
    thread.submit([engine = std::make_shared<Engine>(std::move(o)), this, &failed]() mutable {
      failed = engine->prefill(tokens_, LogitsWanted::kLast, "npu") != expected_;
      engine.reset();
    });
    ASSERT_TRUE(reported.wait(20s));
    EXPECT_EQ(reported.what.rfind("graphExecute of segment 1 has not returned for ", 0), 0u) << reported.what;
    EXPECT_FALSE(thread.end(0ms));
  }
  EXPECT_EQ(library.calls(Slot::kContextFree), 0u);
  // The call comes back after all.
  library.set("");
  const auto deadline = std::chrono::steady_clock::now() + 20s;
  while (library.calls(Slot::kLogFree) == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(2ms);
  expect_all_freed(library, "hang");
  EXPECT_FALSE(failed);
  EXPECT_EQ(reported.times, 1);
}

TEST_F(Faults, OpeningCompilingAndFreeingAreWatchedTooWithMorePatience) {
  for (const auto& [slot, says] : std::vector<std::pair<std::string, std::string>>{
           {"backendCreate", "opening the NPU library"}, {"graphFinalize", "compiling the graph of segment 0"}, {"contextFree", "freeing the graphs"}}) {
    FaultyLibrary library("hang " + slot + " 1 0");
    Reported reported;
    auto o = options(library);
    o.watch = std::make_shared<CallWatch>(20ms, reported.report());
    WorkThread thread;
    const auto begin = std::chrono::steady_clock::now();
    thread.submit([o = std::make_shared<session::EngineOptions>(std::move(o))] { const Engine engine(std::move(*o)); });
    ASSERT_TRUE(reported.wait(20s)) << slot;
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 200ms);
    EXPECT_EQ(reported.what.rfind(says, 0), 0u) << reported.what;
    library.set("");
    EXPECT_TRUE(thread.end());
    expect_all_freed(library, slot);
  }
}

TEST(CallWatch, SaysNothingAboutCallsThatReturnHoweverManyThereAre) {
  Reported reported;
  {
    CallWatch watch(50ms, reported.report());
    const auto end = std::chrono::steady_clock::now() + 300ms;
    while (std::chrono::steady_clock::now() < end) {
      const CallWatch::Call call(&watch, CallWatch::Pace::kExecute, "quick");
    }
    std::this_thread::sleep_for(120ms);
    const CallWatch::Call slow(&watch, CallWatch::Pace::kSlow, "slow");
    std::this_thread::sleep_for(120ms);
  }
  EXPECT_EQ(reported.times, 0);
}

TEST(CallWatch, ShortPatienceAfterLongIsNotOverslept) {
  Reported reported;
  CallWatch watch(100ms, reported.report());
  { const CallWatch::Call slow(&watch, CallWatch::Pace::kSlow, "slow"); }
  std::this_thread::sleep_for(10ms);
  const CallWatch::Call hung(&watch, CallWatch::Pace::kExecute, "hung", 7);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(reported.wait(20s));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 800ms);
  EXPECT_EQ(reported.what.rfind("hung of segment 7", 0), 0u);
}

TEST(WorkThread, WorksInOrderEndsWithoutLossAndCanBeLeft) {
  std::vector<int> order;
  {
    WorkThread thread;
    for (int i = 0; i < 100; ++i) thread.submit([&order, i] { order.push_back(i); });
    EXPECT_TRUE(thread.end());
    EXPECT_TRUE(thread.end());
    thread.submit([&order] { order.push_back(-1); });
  }
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));

  const auto released = std::make_shared<std::atomic<bool>>(false), finished = std::make_shared<std::atomic<bool>>(false);
  {
    WorkThread thread;
    thread.submit([released] {
      while (!*released) std::this_thread::sleep_for(1ms);
    });
    thread.submit([finished] { *finished = true; });
    EXPECT_FALSE(thread.end(10ms));
    EXPECT_FALSE(thread.end());
  }
  EXPECT_FALSE(*finished);
  *released = true;
  for (int i = 0; i < 5000 && !*finished; ++i) std::this_thread::sleep_for(1ms);
  EXPECT_TRUE(*finished);
}

}  // namespace
}  // namespace lutra
