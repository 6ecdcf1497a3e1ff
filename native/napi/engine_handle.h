// An engine with its thread, as JavaScript's thread sees it: promises, disposal, the end of the environment, and libraries that do not answer.
#pragma once

#include <napi.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "napi/arguments.h"
#include "napi/deferred.h"
#include "napi/qnn_runner.h"
#include "napi/worker.h"
#include "session/engine.h"

namespace lutra::addon {

/// Used and destroyed on JavaScript's thread. The engine is made, used and destroyed on its own thread; a call into an NPU library that does not return costs that thread and what
/// it holds, and nothing else.
class EngineHandle : public std::enable_shared_from_this<EngineHandle> {
 public:
  /// `npu_timeout`: how long a call into an NPU library may take (session::CallWatch); nothing: nobody looks. The environment closes the handle when it ends first.
  static std::shared_ptr<EngineHandle> create(Napi::Env env, std::optional<std::chrono::milliseconds> npu_timeout);
  ~EngineHandle();
  EngineHandle(const EngineHandle&) = delete;
  EngineHandle& operator=(const EngineHandle&) = delete;

  const std::shared_ptr<session::CallWatch>& watch() const noexcept { return watch_; }
  /// What has to be closed with the environment: the way of the log lines.
  Environment& environment() noexcept { return environment_; }

  void set_engine(std::shared_ptr<session::Engine> engine) { engine_ = std::move(engine); }
  /// Work holds it too. Throws Error: kDisposed, kNpuHung.
  const std::shared_ptr<session::Engine>& engine() const;
  /// Throws as engine() does, and Error(kBusy).
  void require_idle() const;

  /// Runs `work` on the engine's thread; settles the promise with what `finish(env, handle, result)` makes of its result on JavaScript's thread. Neither may own the handle, and
  /// `work` owns all that it uses: the thread may be the last to hold it.
  template <class Work, class Finish>
  Napi::Value run(Napi::Env env, Work work, Finish finish) {
    const auto [call, promise] = begin(env);
    worker_.submit([call = call, post = worker_.poster(), work = std::move(work), finish = std::move(finish)]() mutable {
      using Result = decltype(work());
      auto result = std::make_shared<std::optional<Result>>();
      std::exception_ptr error;
      try {
        result->emplace(work());
      } catch (...) {
        error = std::current_exception();
      }
      post([call, result, error, finish = std::move(finish)](Napi::Env js) {
        settle(js, *call, [&](EngineHandle& handle) -> Napi::Value {
          if (error) std::rethrow_exception(error);
          return finish(js, handle, **result);
        });
      });
    });
    return promise;
  }

  /// For a generate call that is about to begin: a function for the engine's thread that hands a token to `on_token` on JavaScript's, until the call settles. A loop that waits for its
  /// reader keeps no process alive: when nobody reads on, nothing is left to wait for.
  session::Engine::Deliver token_sink(const Napi::Function& on_token, uint32_t run_ahead);
  // These may come late, from a reader or an abort signal that outlives the engine: then there is nothing to do.
  void acknowledge(Napi::Env env, uint32_t count);
  void stop(Napi::Env env);

  /// Stops what runs, frees everything on the engine's thread. The promise resolves when that is done, or to what does not return.
  Napi::Value dispose(Napi::Env env);

 private:
  struct Call {
    std::shared_ptr<Deferred> deferred;
    std::shared_ptr<EngineHandle> handle;  // keeps it alive while the promise is open; empty once settled or given up. JavaScript's thread
    bool disposal = false;
  };
  using Make = std::function<Napi::Value(EngineHandle&)>;

  explicit EngineHandle(Napi::Env env) : env_(env), worker_(env) {}
  /// A call that is open now, and its promise.
  std::pair<std::shared_ptr<Call>, Napi::Value> begin(Napi::Env env);
  static void settle(Napi::Env env, Call& call, const Make& make);
  void deliver(Napi::Env env, uint32_t token, std::span<const kernels::Logprob> logprobs);
  /// The call under way, if any, is going to settle: the process stays for it.
  void await_end(Napi::Env env);
  void hung(Napi::Env env, const std::string& what);
  void abandon();
  void close();
  /// Work that frees the engine; the handle does not hold it any more.
  std::function<void()> give_up_engine();

  const Napi::Env env_;
  Environment environment_;
  std::shared_ptr<session::CallWatch> watch_;
  std::shared_ptr<session::Engine> engine_;
  std::vector<std::shared_ptr<Call>> calls_;  // open ones, oldest first
  Napi::FunctionReference on_token_;          // of the generate call under way
  uint32_t run_ahead_ = 1, unread_ = 0;       // of that call; unread: delivered and not acknowledged
  bool stopped_ = false;                      // that call was told to end
  std::function<void()> unhook_;              // takes the environment's clean-up hook back; empty once done
  std::string hang_;                          // what did not return; empty: nothing
  bool closed_ = false;
  Worker worker_;  // last: ended first
};

}  // namespace lutra::addon
