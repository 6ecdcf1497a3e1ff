#include "napi/qnn_runner.h"

#include <algorithm>
#include <utility>

#include "napi/arguments.h"

namespace lutra::addon {
namespace {

/// Executions take less; what takes longer hangs, or is a compilation, which goes on until the process ends.
constexpr std::chrono::seconds kPatience{5};

}  // namespace

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
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  // Without the lock: a thread that is waited for may be about to destroy another member.
  for (const std::weak_ptr<Closable>& member : members) {
    if (const auto live = member.lock()) live->abandon(deadline);
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
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, drop, reference.get(), call, &runner->shared_->way_back) != napi_ok) {
    throw Error(ErrorCode::kInternal, "no way back to JavaScript's thread can be made");
  }
  static_cast<void>(reference.release());
  napi_unref_threadsafe_function(env, runner->shared_->way_back);
  environment.add(runner);
  return runner;
}

Runner::~Runner() { stop(std::nullopt); }

Napi::Value Runner::run(Napi::Env env, Work work) {
  {
    const std::lock_guard lock(shared_->mutex);
    if (shared_->closing) throw Error(ErrorCode::kDisposed, "the process or worker is ending");
  }
  const auto [deferred, promise] = Deferred::create(env);
  if (open_.empty()) {
    keep_alive_ = shared_from_this();
    napi_ref_threadsafe_function(env, shared_->way_back);
  }
  open_.push_back(deferred);
  Outcome outcome{{}, {}, deferred};
  thread_.submit([shared = shared_, work = std::move(work), outcome = std::move(outcome)]() mutable { work_off(*shared, std::move(work), std::move(outcome)); });
  return promise;
}

void Runner::cancel() {
  const std::lock_guard lock(shared_->mutex);
  shared_->cancelled = true;
}

void Runner::work_off(Shared& shared, Work work, Outcome outcome) {
  try {
    {
      const std::lock_guard lock(shared.mutex);
      if (shared.cancelled) throw Error(ErrorCode::kDisposed, "the graph was disposed of before this call could begin");
    }
    outcome.finish = work();
  } catch (...) {
    outcome.error = std::current_exception();
  }
  work = nullptr;  // what it holds is free again before the promise settles
  const std::lock_guard lock(shared.mutex);
  shared.outcomes.push_back(std::move(outcome));
  // Refused when the environment is going: the outcome is then dropped with the runner.
  if (shared.way_back != nullptr) napi_call_threadsafe_function(shared.way_back, nullptr, napi_tsfn_nonblocking);
}

void Runner::settle(Napi::Env env, Outcome& outcome) {
  const Napi::HandleScope scope(env);
  const SettledOrDropped end(*outcome.deferred);
  try {
    if (outcome.error) std::rethrow_exception(outcome.error);
    outcome.deferred->resolve(outcome.finish(env));
  } catch (const Napi::Error& error) {  // no memory for the result
    outcome.deferred->reject(error.Value());
  } catch (...) {
    outcome.deferred->reject(to_js(env, std::current_exception()).Value());
  }
}

void Runner::deliver(Napi::Env env) {
  std::deque<Outcome> outcomes;
  {
    const std::lock_guard lock(shared_->mutex);
    outcomes.swap(shared_->outcomes);
  }
  for (Outcome& outcome : outcomes) {
    std::erase(open_, outcome.deferred);
    try {
      settle(env, outcome);
    } catch (const Napi::Error&) {
      // The worker is being terminated: nobody waits for the promise any more.
    }
  }
  if (!open_.empty() || outcomes.empty()) return;
  napi_unref_threadsafe_function(env, shared_->way_back);
  keep_alive_.reset();  // the caller holds another reference
}

void Runner::stop(std::optional<std::chrono::milliseconds> patience) noexcept {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->closing = shared_->cancelled = true;
  }
  thread_.end(patience);
  for (const std::shared_ptr<Deferred>& deferred : std::exchange(open_, {})) deferred->drop();
  const std::lock_guard lock(shared_->mutex);
  if (shared_->way_back != nullptr) napi_release_threadsafe_function(std::exchange(shared_->way_back, nullptr), napi_tsfn_abort);
}

void Runner::abandon(Deadline deadline) noexcept {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  stop(std::max(left, std::chrono::milliseconds(0)));
  keep_alive_.reset();  // Environment::abandon holds another reference
}

}  // namespace lutra::addon
