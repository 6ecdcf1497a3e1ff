// The thread that runs an engine's calls in order, and the way back to JavaScript's thread.
#pragma once

#include <napi.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/work_thread.h"

namespace lutra::addon {

/// Calls a function from the event loop. What it throws stays pending: Node reports it as an uncaught exception. An environment that is being torn down calls nothing.
inline void call_from_loop(Napi::Env env, Napi::Function function, std::initializer_list<napi_value> arguments) {
  static_cast<void>(napi_call_function(env, env.Undefined(), function, arguments.size(), arguments.begin(), nullptr));
}

/// Owned by JavaScript's thread. `submit` queues work for the own thread; a Poster queues functions for JavaScript's.
class Worker {
  class WayBack;

 public:
  using Post = std::function<void(Napi::Env)>;  // throws Napi::Error only when JavaScript cannot run any more

  /// May outlive the worker, so that a thread that was left behind can hold one.
  class Poster {
   public:
    /// From any thread. Runs in order on JavaScript's thread, inside a handle scope. Dropped, here or there, when the worker has ended.
    void operator()(Post function) const { way_->post(std::move(function)); }

   private:
    friend class Worker;
    explicit Poster(std::shared_ptr<WayBack> way) : way_(std::move(way)) {}
    std::shared_ptr<WayBack> way_;
  };

  explicit Worker(Napi::Env env) : way_(std::make_shared<WayBack>(env)) {}
  ~Worker() { end(); }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// As WorkThread::submit.
  void submit(std::function<void()> work) { thread_.submit(std::move(work)); }
  Poster poster() const { return Poster(way_); }

  /// Keeps the event loop alive while a promise is open, lets it end otherwise.
  void ref(Napi::Env env) { way_->ref(env); }
  void unref(Napi::Env env) { way_->unref(env); }

  /// As WorkThread::end; closes the way back. Idempotent.
  bool end(std::optional<std::chrono::milliseconds> patience = std::nullopt) {
    const bool ended = thread_.end(patience);
    way_->close();
    return ended;
  }

 private:
  class WayBack {
   public:
    explicit WayBack(Napi::Env env) {
      const Napi::String name = Napi::String::New(env, "lutra");
      if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, nullptr, run_post, &channel_) != napi_ok) {
        throw Error(ErrorCode::kInternal, "no way back to JavaScript's thread can be made");
      }
      unref(env);
    }
    void post(Post function) {
      auto owned = std::make_unique<Post>(std::move(function));
      const std::lock_guard lock(mutex_);
      if (channel_ != nullptr && napi_call_threadsafe_function(channel_, owned.get(), napi_tsfn_nonblocking) == napi_ok) static_cast<void>(owned.release());
    }
    void ref(napi_env env) {
      if (channel_ != nullptr) napi_ref_threadsafe_function(env, channel_);
    }
    void unref(napi_env env) {
      if (channel_ != nullptr) napi_unref_threadsafe_function(env, channel_);
    }
    void close() {
      const std::lock_guard lock(mutex_);
      if (channel_ != nullptr) napi_release_threadsafe_function(std::exchange(channel_, nullptr), napi_tsfn_release);
    }

   private:
    /// Without an environment: it is gone, and what was posted is only freed.
    static void run_post(napi_env env, napi_value, void*, void* owned) {
      const std::unique_ptr<Post> post(static_cast<Post*>(owned));
      if (env == nullptr) return;
      try {
        (*post)(env);
      } catch (const Napi::Error&) {
      }
    }

    std::mutex mutex_;
    napi_threadsafe_function channel_ = nullptr;  // null: closed. Written on JavaScript's thread, under mutex_
  };

  std::shared_ptr<WayBack> way_;
  WorkThread thread_;
};

}  // namespace lutra::addon
