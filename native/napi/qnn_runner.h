// Threads of the typed QNN API: work off JavaScript's thread, promises settled on it, and an orderly end when the environment goes.
#pragma once

#include <napi.h>

#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/work_thread.h"
#include "napi/deferred.h"

namespace lutra::addon {

/// Something with a thread or a way back to JavaScript, which has to stop before its environment goes.
class Closable {
 public:
  virtual ~Closable() = default;
  using Deadline = std::chrono::steady_clock::time_point;
  /// On JavaScript's thread, at most once, when the environment is being torn down. Returns when nothing of it runs any more; what still runs at the deadline is left behind.
  virtual void abandon(Deadline deadline) noexcept = 0;
};

/// What an environment (the main thread's or a worker's) has to stop at its end. Holds nothing alive.
class Environment {
 public:
  void add(const std::shared_ptr<Closable>& closable);
  /// Waits for calls under way, but not for ever: one that hangs in a library cannot be stopped.
  void abandon() noexcept;

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<Closable>> members_;
};

/// One thread that runs work in the order in which it was given. Used and destroyed on JavaScript's thread. Stays alive while a promise is open.
class Runner : public Closable, public std::enable_shared_from_this<Runner> {
 public:
  /// Makes the promise's value on JavaScript's thread.
  using Finish = std::function<Napi::Value(Napi::Env)>;
  /// Runs on the own thread. Must not own the Runner, and owns what it uses.
  using Work = std::function<Finish()>;

  static std::shared_ptr<Runner> create(Napi::Env env, Environment& environment);
  ~Runner() override;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  /// The promise of what `work` leads to; an Error that it throws rejects the promise.
  Napi::Value run(Napi::Env env, Work work);
  /// Work that has not begun is not begun: its promises reject with LUTRA_DISPOSED.
  void cancel();
  /// Open promises.
  size_t pending() const noexcept { return open_.size(); }
  void abandon(Deadline deadline) noexcept override;

 private:
  struct Outcome {
    Finish finish;
    std::exception_ptr error;
    std::shared_ptr<Deferred> deferred;
  };

  /// What the thread shares with the runner, and holds when it is left behind.
  struct Shared {
    std::mutex mutex;
    // Carries no data, only "look at the outcomes", so that nothing is lost with it when the environment goes. Null: closed.
    napi_threadsafe_function way_back = nullptr;
    std::deque<Outcome> outcomes;
    bool cancelled = false, closing = false;
  };

  Runner() = default;
  static void work_off(Shared& shared, Work work, Outcome outcome);
  static void settle(Napi::Env env, Outcome& outcome);
  void deliver(Napi::Env env);
  void stop(std::optional<std::chrono::milliseconds> patience) noexcept;

  std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
  std::vector<std::shared_ptr<Deferred>> open_;  // JavaScript's thread
  std::shared_ptr<Runner> keep_alive_;  // while a promise is open; JavaScript's thread
  WorkThread thread_;
};

}  // namespace lutra::addon
