// Signals: what ends a call early. Calls look between two steps of their work.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "hostnpu/failure.h"
#include "hostnpu/object.h"

namespace lutra::hostnpu {

class Signal : public Object {
 public:
  static constexpr Kind kKind = Kind::kSignal;
  Signal() noexcept : Object(kKind) {}

  /// Throws Failure: kSignalInvalidArgument, kSignalInUse.
  void configure(const abi::SignalConfig* const* list);
  /// Asks the call that uses the signal to end, and waits until it has if somebody waits for that call. Throws Failure: kSignalIdle, kSignalIncompatibleType.
  void trigger();
  bool in_use() const;

 private:
  friend class Watch;
  enum class Type : uint8_t { kNone, kAbort, kTimeout };

  mutable std::mutex mutex_;
  std::condition_variable released_;
  Type type_ = Type::kNone;
  std::chrono::microseconds timeout_{};
  bool in_use_ = false, waits_ = false;  // waits_: somebody waits for the call that uses it
  uint64_t use_ = 0;                     // counts uses
  std::atomic<bool> triggered_{false};
};

/// The use of a signal by one call, from its beginning to its end.
class Watch {
 public:
  enum class Call : uint8_t { kContext, kGraph, kQueuedGraph };  // of a queued one trigger() does not wait for the end

  /// Throws Failure when another call uses the signal.
  Watch(std::shared_ptr<Signal> signal, Call call);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  /// Throws the Failure that ends the call once the signal says so.
  void check() const;

 private:
  std::shared_ptr<Signal> signal_;
  Call call_;
  bool has_deadline_;
  std::chrono::steady_clock::time_point deadline_;
};

}  // namespace lutra::hostnpu
