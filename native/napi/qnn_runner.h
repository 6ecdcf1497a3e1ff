// Threads of the typed QNN API: work off JavaScript's thread, promises settled on it, and an orderly end when the environment goes.
#pragma once

#include <napi.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace lutra::addon {

/// Something with a thread or a way back to JavaScript, which has to stop before its environment goes.
class Closable {
 public:
  virtual ~Closable() = default;
  /// On JavaScript's thread, at most once, when the environment is being torn down. Returns when nothing of it runs any more.
  virtual void abandon() noexcept = 0;
};

/// What an environment (the main thread's or a worker's) has to stop at its end. Holds nothing alive.
class Environment {
 public:
  void add(const std::shared_ptr<Closable>& closable);
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
  /// Runs on the own thread. Must not own the Runner.
  using Work = std::function<Finish()>;

  static std::shared_ptr<Runner> create(Napi::Env env, Environment& environment);
  ~Runner() override;
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  /// The promise of what `work` leads to; an Error that it throws rejects the promise.
  Napi::Promise run(Napi::Env env, Work work);
  /// Work that has not begun is not begun: its promises reject with LUTRA_DISPOSED.
  void cancel();
  /// Open promises.
  uint32_t pending() const noexcept { return pending_; }
  void abandon() noexcept override;

 private:
  struct Task {
    Work work;
    std::shared_ptr<Napi::Promise::Deferred> deferred;
  };
  struct Outcome {
    Finish finish;
    std::exception_ptr error;
    std::shared_ptr<Napi::Promise::Deferred> deferred;
  };

  Runner() = default;
  void loop();
  static void settle(Napi::Env env, Outcome& outcome);
  void deliver(Napi::Env env);
  void stop() noexcept;

  // The way back carries no data, only "look at the outcomes", so that nothing is lost with it when the environment goes.
  napi_threadsafe_function way_back_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  std::deque<Outcome> outcomes_;
  bool cancelled_ = false, closing_ = false;  // under mutex_
  uint32_t pending_ = 0;                      // JavaScript's thread
  std::shared_ptr<Runner> keep_alive_;        // while a promise is open; JavaScript's thread
  std::thread thread_;
};

}  // namespace lutra::addon
