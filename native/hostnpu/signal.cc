#include "hostnpu/signal.h"

#include <utility>

namespace lutra::hostnpu {
namespace {

// Longer than any call; keeps the deadline's arithmetic far from its limits.
constexpr uint64_t kMaxTimeout = uint64_t{1} << 48;

}  // namespace

void Signal::configure(const abi::SignalConfig* const* list) {
  Type type = Type::kNone;
  std::chrono::microseconds timeout{};
  for (; list != nullptr && *list != nullptr; ++list) {
    const bool abort = (*list)->option == abi::SignalOption::kAbort;
    if (!abort && (*list)->option != abi::SignalOption::kTimeout) continue;
    const Type wanted = abort ? Type::kAbort : Type::kTimeout;
    if (type != Type::kNone && type != wanted) throw Failure(abi::kSignalInvalidArgument, "a signal either aborts or times out, it cannot do both");
    type = wanted;
    if (!abort) timeout = std::chrono::microseconds((*list)->value < kMaxTimeout ? (*list)->value : kMaxTimeout);
  }
  const std::lock_guard lock(mutex_);
  if (in_use_) throw Failure(abi::kSignalInUse, "a signal cannot be changed while a call uses it");
  type_ = type;
  timeout_ = timeout;
}

void Signal::trigger() {
  std::unique_lock lock(mutex_);
  if (type_ != Type::kAbort) throw Failure(abi::kSignalIncompatibleType, "only a signal that was configured to abort can be triggered");
  if (!in_use_) throw Failure(abi::kSignalIdle, "no call uses the signal");
  triggered_ = true;
  if (waits_) released_.wait(lock, [this, use = use_] { return use_ != use || !in_use_; });
}

bool Signal::in_use() const {
  const std::lock_guard lock(mutex_);
  return in_use_;
}

Watch::Watch(std::shared_ptr<Signal> signal, Call call) : signal_(std::move(signal)), call_(call) {
  const std::lock_guard lock(signal_->mutex_);
  if (signal_->in_use_) throw Failure(call == Call::kContext ? abi::kSignalInUse : abi::kGraphSignalInUse, "another call uses the signal");
  signal_->in_use_ = true;
  signal_->waits_ = call != Call::kQueuedGraph;
  ++signal_->use_;
  signal_->triggered_ = false;
  has_deadline_ = signal_->type_ == Signal::Type::kTimeout;
  if (has_deadline_) deadline_ = std::chrono::steady_clock::now() + signal_->timeout_;
}

Watch::~Watch() {
  {
    const std::lock_guard lock(signal_->mutex_);
    signal_->in_use_ = false;
  }
  signal_->released_.notify_all();
}

void Watch::check() const {
  if (signal_->triggered_) throw Failure(call_ == Call::kContext ? abi::kContextAborted : abi::kGraphAborted, "the call was aborted by its signal");
  if (has_deadline_ && std::chrono::steady_clock::now() >= deadline_) {
    throw Failure(call_ == Call::kContext ? abi::kContextTimedOut : abi::kGraphTimedOut, "the call took longer than its signal allows");
  }
}

}  // namespace lutra::hostnpu
