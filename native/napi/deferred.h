// A promise and the way to settle it.
#pragma once

#include <napi.h>

#include <memory>
#include <utility>

namespace lutra::addon {

/// Node frees its own (napi_deferred) only by settling it, which an environment that is ending does not allow any more; this one can be dropped. Used on JavaScript's thread; once
/// settled or dropped it may be destroyed on any.
class Deferred {
 public:
  /// A new promise and its other end. Throws Napi::Error when JavaScript cannot run.
  static std::pair<std::shared_ptr<Deferred>, Napi::Value> create(Napi::Env env);
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  /// The second and later calls do nothing.
  void resolve(Napi::Value value) { settle(resolve_, value); }
  void reject(Napi::Value reason) { settle(reject_, reason); }
  /// Leaves the promise open for ever. Idempotent.
  void drop() noexcept;

 private:
  explicit Deferred(napi_env env) : env_(env) {}
  void settle(napi_ref function, napi_value argument);

  const napi_env env_;
  napi_ref resolve_ = nullptr, reject_ = nullptr;
};

/// Drops, at the end of its scope, a promise that was not settled in it: making the value or the error may fail when the environment is ending.
class SettledOrDropped {
 public:
  explicit SettledOrDropped(Deferred& deferred) noexcept : deferred_(deferred) {}
  ~SettledOrDropped() { deferred_.drop(); }
  SettledOrDropped(const SettledOrDropped&) = delete;
  SettledOrDropped& operator=(const SettledOrDropped&) = delete;

 private:
  Deferred& deferred_;
};

}  // namespace lutra::addon
