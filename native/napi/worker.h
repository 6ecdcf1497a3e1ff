// One thread that runs an engine's calls in order, and the way back to JavaScript's thread.
#pragma once

#include <napi.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <thread>

namespace lutra::addon {

/// Calls a function from the event loop. What it throws stays pending: Node reports it as an uncaught exception. An environment that is being torn down calls nothing.
inline void call_from_loop(Napi::Env env, Napi::Function function, std::initializer_list<napi_value> arguments) {
  static_cast<void>(napi_call_function(env, env.Undefined(), function, arguments.size(), arguments.begin(), nullptr));
}

/// Owned by JavaScript's thread. `submit` queues work for the own thread; `post` queues a function for JavaScript's. The destructor (or join) waits for the call under
/// way; posts that JavaScript can no longer take (its environment is being torn down) are dropped.
class Worker {
 public:
  explicit Worker(Napi::Env env)
      : post_(Channel::New(env, "lutra", 0, 1)), thread_([this] { loop(); }) {
    post_.Unref(env);
  }
  ~Worker() { join(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void submit(std::function<void()> work) {
    {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
    }
    wake_.notify_one();
  }

  using Post = std::function<void(Napi::Env)>;  // throws Napi::Error only when JavaScript cannot run any more
  /// From the own thread. Runs in order on JavaScript's thread, inside a handle scope.
  void post(Post function) {
    auto owned = std::make_unique<Post>(std::move(function));
    if (post_.NonBlockingCall(owned.get()) == napi_ok) static_cast<void>(owned.release());
  }

  /// Keeps the event loop alive while a promise is open, lets it end otherwise.
  void ref(Napi::Env env) { post_.Ref(env); }
  void unref(Napi::Env env) { post_.Unref(env); }

  /// Finishes what is queued, ends the thread and closes the way back. Idempotent.
  void join() {
    if (!thread_.joinable()) return;
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_one();
    thread_.join();
    post_.Release();
  }

 private:
  /// Without an environment: it is gone, and what was posted is only freed.
  static void run_post(Napi::Env env, Napi::Function, std::nullptr_t*, Post* owned) {
    const std::unique_ptr<Post> post(owned);
    if (env == nullptr) return;
    try {
      (*post)(env);
    } catch (const Napi::Error&) {
    }
  }
  using Channel = Napi::TypedThreadSafeFunction<std::nullptr_t, Post, &run_post>;

  void loop() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  Channel post_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace lutra::addon
