#include "napi/qnn_runner.h"

#include <algorithm>
#include <utility>

#include "napi/arguments.h"

namespace lutra::addon {

void Environment::add(const std::shared_ptr<Closable>& closable) {
  const std::lock_guard lock(mutex_);
  std::erase_if(members_, [](const std::weak_ptr<Closable>& member) { return member.expired(); });
  members_.push_back(closable);
}

void Environment::abandon() noexcept {
  std::vector<std::weak_ptr<Closable>> members;
  {
    const std::lock_guard lock(mutex_);
    members.swap(members_);
  }
  // Without the lock: a thread that is waited for may be about to destroy another member.
  for (const std::weak_ptr<Closable>& member : members) {
    if (const auto live = member.lock()) live->abandon();
  }
}

std::shared_ptr<Runner> Runner::create(Napi::Env env, Environment& environment) {
  const std::shared_ptr<Runner> runner(new Runner);
  // Node may empty its queue after the runner has gone: the way back finds it through a weak reference of its own.
  auto reference = std::make_unique<std::weak_ptr<Runner>>(runner);
  const auto drop = [](napi_env, void*, void* context) { delete static_cast<std::weak_ptr<Runner>*>(context); };
  const auto call = [](napi_env js, napi_value, void* context, void*) {
    if (js == nullptr) return;
    if (const auto live = static_cast<std::weak_ptr<Runner>*>(context)->lock()) live->deliver(Napi::Env(js));
  };
  const Napi::String name = Napi::String::New(env, "lutra qnn");
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, drop, reference.get(), call, &runner->way_back_) != napi_ok) {
    throw Error(ErrorCode::kInternal, "no way back to JavaScript's thread can be made");
  }
  static_cast<void>(reference.release());
  napi_unref_threadsafe_function(env, runner->way_back_);
  environment.add(runner);
  runner->thread_ = std::thread([raw = runner.get()] { raw->loop(); });
  return runner;
}

Runner::~Runner() { stop(); }

Napi::Promise Runner::run(Napi::Env env, Work work) {
  auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
  {
    const std::lock_guard lock(mutex_);
    if (closing_) throw Error(ErrorCode::kDisposed, "the process or worker is ending");
    tasks_.push_back({std::move(work), deferred});
  }
  if (pending_++ == 0) {
    keep_alive_ = shared_from_this();
    napi_ref_threadsafe_function(env, way_back_);
  }
  wake_.notify_one();
  return deferred->Promise();
}

void Runner::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
}

void Runner::loop() {
  for (;;) {
    Outcome outcome;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      const bool cancelled = cancelled_;
      lock.unlock();
      try {
        if (cancelled) throw Error(ErrorCode::kDisposed, "the graph was disposed of before this call could begin");
        outcome.finish = task.work();
      } catch (...) {
        outcome.error = std::current_exception();
      }
      outcome.deferred = std::move(task.deferred);
    }
    const std::lock_guard lock(mutex_);
    outcomes_.push_back(std::move(outcome));
    // Refused when the environment is going: the outcome is then dropped with the runner.
    if (way_back_ != nullptr) napi_call_threadsafe_function(way_back_, nullptr, napi_tsfn_nonblocking);
  }
}

void Runner::settle(Napi::Env env, Outcome& outcome) {
  const Napi::HandleScope scope(env);
  try {
    if (outcome.error) std::rethrow_exception(outcome.error);
    outcome.deferred->Resolve(outcome.finish(env));
  } catch (const Napi::Error& error) {  // no memory for the result
    outcome.deferred->Reject(error.Value());
  } catch (...) {
    outcome.deferred->Reject(to_js(env, std::current_exception()).Value());
  }
}

void Runner::deliver(Napi::Env env) {
  std::deque<Outcome> outcomes;
  {
    const std::lock_guard lock(mutex_);
    outcomes.swap(outcomes_);
  }
  for (Outcome& outcome : outcomes) {
    try {
      settle(env, outcome);
    } catch (const Napi::Error&) {
      // The worker is being terminated: nobody waits for the promise any more.
    }
  }
  pending_ -= static_cast<uint32_t>(outcomes.size());
  if (pending_ > 0 || outcomes.empty()) return;
  napi_unref_threadsafe_function(env, way_back_);
  keep_alive_.reset();  // the caller holds another reference
}

void Runner::stop() noexcept {
  napi_threadsafe_function way_back = nullptr;
  {
    const std::lock_guard lock(mutex_);
    closing_ = cancelled_ = true;
    way_back = std::exchange(way_back_, nullptr);
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (way_back != nullptr) napi_release_threadsafe_function(way_back, napi_tsfn_abort);
}

void Runner::abandon() noexcept {
  stop();
  keep_alive_.reset();  // Environment::abandon holds another reference
}

}  // namespace lutra::addon
