#include "napi/engine_handle.h"

#include <algorithm>
#include <utility>

namespace lutra::addon {
namespace {

/// How long the end of an environment waits for a call into an NPU library.
constexpr std::chrono::milliseconds kPatience{2000};

Error hung_error(const std::string& what) {
  return Error(ErrorCode::kNpuHung, "the NPU library does not answer: " + what,
               "open another session without this library (npu 'host' or 'none'); the thread and the memory of this one are lost until the process ends");
}

}  // namespace

std::shared_ptr<EngineHandle> EngineHandle::create(Napi::Env env, std::optional<std::chrono::milliseconds> npu_timeout) {
  const std::shared_ptr<EngineHandle> handle(new EngineHandle(env));
  const std::weak_ptr<EngineHandle> weak = handle;
  if (npu_timeout) {
    handle->watch_ = std::make_shared<session::CallWatch>(*npu_timeout, [weak, post = handle->worker_.poster()](const std::string& what) {
      post([weak, what](Napi::Env js) {
        if (const auto live = weak.lock()) live->hung(js, what);
      });
    });
  }
  // A worker thread that is terminated, or a process that exits, ends the environment before dispose().
  auto hook = env.AddCleanupHook([weak] {
    if (const auto live = weak.lock()) live->abandon();
  });
  handle->unhook_ = [hook, env]() mutable { hook.Remove(env); };
  return handle;
}

EngineHandle::~EngineHandle() { close(); }

const std::shared_ptr<session::Engine>& EngineHandle::engine() const {
  if (!hang_.empty()) throw hung_error(hang_);
  if (closed_ || engine_ == nullptr) throw Error(ErrorCode::kDisposed, "the model was disposed of", "load it again");
  return engine_;
}

void EngineHandle::require_idle() const {
  engine();
  if (!calls_.empty()) throw Error(ErrorCode::kBusy, "another call of this session is under way", "await it first, or use a second session");
}

std::pair<std::shared_ptr<EngineHandle::Call>, Napi::Value> EngineHandle::begin(Napi::Env env) {
  auto [deferred, promise] = Deferred::create(env);
  calls_.push_back(std::make_shared<Call>(Call{std::move(deferred), shared_from_this()}));
  worker_.ref(env);
  return {calls_.back(), promise};
}

void EngineHandle::settle(Napi::Env env, Call& call, const Make& make) {
  const auto self = std::exchange(call.handle, nullptr);
  if (self == nullptr) return;
  const SettledOrDropped end(*call.deferred);
  std::erase_if(self->calls_, [&call](const std::shared_ptr<Call>& open) { return open.get() == &call; });
  self->on_token_.Reset();
  if (self->calls_.empty()) self->worker_.unref(env);
  try {
    call.deferred->resolve(make(*self));
  } catch (const Napi::Error& e) {  // no memory for the result
    call.deferred->reject(e.Value());
  } catch (...) {
    call.deferred->reject(to_js(env, std::current_exception()).Value());
  }
}

session::Engine::Deliver EngineHandle::token_sink(const Napi::Function& on_token, uint32_t run_ahead) {
  on_token_ = Napi::Persistent(on_token);
  run_ahead_ = run_ahead;
  unread_ = 0;
  stopped_ = false;
  return [weak = weak_from_this(), post = worker_.poster()](uint32_t token, std::span<const kernels::Logprob> logprobs) {
    post([weak, token, logprobs = std::vector(logprobs.begin(), logprobs.end())](Napi::Env js) {
      if (const auto live = weak.lock()) live->deliver(js, token, logprobs);
    });
  };
}

void EngineHandle::deliver(Napi::Env env, uint32_t token, std::span<const kernels::Logprob> logprobs) {
  if (on_token_.IsEmpty()) return;
  // A loop that was stopped ends without its reader; tokens from before are still on their way.
  if (++unread_ >= run_ahead_ && !stopped_ && !closed_) worker_.unref(env);
  if (logprobs.empty()) {
    call_from_loop(env, on_token_.Value(), {Napi::Number::New(env, token)});
    return;
  }
  auto numbers = Napi::Float64Array::New(env, 2 * logprobs.size());
  for (size_t i = 0; i < logprobs.size(); ++i) {
    numbers[2 * i] = logprobs[i].token;
    numbers[2 * i + 1] = logprobs[i].value;
  }
  call_from_loop(env, on_token_.Value(), {Napi::Number::New(env, token), numbers});
}

void EngineHandle::stop(Napi::Env env) {
  if (engine_ == nullptr) return;
  engine_->stop();
  stopped_ = true;
  await_end(env);
}

void EngineHandle::acknowledge(Napi::Env env, uint32_t count) {
  if (engine_ == nullptr) return;
  engine_->acknowledge(count);
  unread_ -= std::min(unread_, count);
  await_end(env);
}

void EngineHandle::await_end(Napi::Env env) {
  if (!calls_.empty()) worker_.ref(env);
}

std::function<void()> EngineHandle::give_up_engine() {
  if (engine_ != nullptr) engine_->stop();
  // The closure is the last to hold the engine; it is freed on the thread that runs it.
  return [engine = std::exchange(engine_, nullptr)]() mutable { engine.reset(); };
}

Napi::Value EngineHandle::dispose(Napi::Env env) {
  if (closed_) return env.Undefined();
  closed_ = true;
  const Napi::Value promise = run(
      env,
      [free = give_up_engine()] {
        free();
        return true;
      },
      [](Napi::Env js, EngineHandle& handle, bool) -> Napi::Value {
        handle.close();
        return js.Undefined();
      });
  calls_.back()->disposal = true;
  return promise;
}

void EngineHandle::hung(Napi::Env env, const std::string& what) {
  hang_ = what;
  closed_ = true;
  worker_.submit(give_up_engine());  // after the call under way, if that ever returns
  const std::vector<std::shared_ptr<Call>> open = calls_;
  for (const auto& call : open) {
    settle(env, *call, [&](EngineHandle&) -> Napi::Value {
      if (!call->disposal) throw hung_error(what);
      return Napi::String::New(env, what);
    });
  }
  worker_.end(std::chrono::milliseconds(0));
}

void EngineHandle::abandon() {
  unhook_ = nullptr;  // it is what runs now
  // Promises will not settle any more; what they hold must not go on the engine's thread.
  for (const auto& call : std::exchange(calls_, {})) {
    call->handle.reset();
    call->deferred->drop();
  }
  on_token_.Reset();
  close();
}

void EngineHandle::close() {
  closed_ = true;
  if (engine_ != nullptr) worker_.submit(give_up_engine());
  worker_.end(watch_ == nullptr ? std::nullopt : std::optional(kPatience));
  if (watch_ != nullptr) watch_->stop();
  environment_.abandon();
  // Not earlier: an environment that ends during a disposal has to wait for it.
  if (const auto remove = std::exchange(unhook_, nullptr)) remove();
}

}  // namespace lutra::addon
