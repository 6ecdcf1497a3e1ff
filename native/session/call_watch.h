// Notices that a call into an NPU library does not return.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace lutra::session {

/// Watches the calls of one thread. A call that hangs cannot be stopped: the watch says so, and whoever waits for the thread stops waiting.
class CallWatch {
 public:
  using Clock = std::chrono::steady_clock;
  /// What has not returned, and for how long: "graphExecute of segment 3 has not returned for 30 s".
  using Report = std::function<void(const std::string& what)>;

  /// How long a call may take. Compiling, loading and freeing may take kSlow times as long as executing.
  enum class Pace : uint32_t { kExecute = 1, kSlow = 10 };

  /// `report` is called at most once, on a thread of the watch's own.
  CallWatch(std::chrono::milliseconds limit, Report report);
  /// Waits for a report under way.
  ~CallWatch();
  CallWatch(const CallWatch&) = delete;
  CallWatch& operator=(const CallWatch&) = delete;

  /// Ends the watching; calls may go on. Not from the report. Idempotent.
  void stop();

  /// A call for as long as this lives. `name` is static; `segment` as in the plan, when it is about one. A null watch watches nothing. Not to be nested.
  class Call {
   public:
    Call(CallWatch* watch, Pace pace, const char* name, std::optional<uint32_t> segment = std::nullopt);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    CallWatch* watch_;
  };

 private:
  struct UnderWay {
    uint64_t serial;
    Clock::time_point begin, deadline;
    const char* name;
    std::optional<uint32_t> segment;
  };
  void loop();

  const std::chrono::milliseconds limit_;
  const Report report_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::optional<UnderWay> call_;
  uint64_t serial_ = 0;
  Clock::time_point sleeps_until_ = Clock::time_point::max();
  bool stopped_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace lutra::session
