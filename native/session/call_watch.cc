#include "session/call_watch.h"

#include <utility>

namespace lutra::session {
namespace {

std::string describe(const char* name, std::optional<uint32_t> segment, std::chrono::steady_clock::duration elapsed) {
  std::string text = name;
  if (segment) text += " of segment " + std::to_string(*segment);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
  return text + " has not returned for " + (ms < 10'000 ? std::to_string(ms) + " ms" : std::to_string(ms / 1000) + " s");
}

}  // namespace

CallWatch::CallWatch(std::chrono::milliseconds limit, Report report) : limit_(limit), report_(std::move(report)), thread_([this] { loop(); }) {}

CallWatch::~CallWatch() { stop(); }

void CallWatch::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void CallWatch::loop() {
  std::unique_lock lock(mutex_);
  while (!stopped_) {
    // Begin wakes it only when it would sleep beyond the new deadline, so that calls in a row cost no system calls.
    const auto known = call_ ? call_->serial : 0;
    sleeps_until_ = call_ ? call_->deadline : Clock::time_point::max();
    const auto earlier = [this, until = sleeps_until_] { return stopped_ || sleeps_until_ != until; };
    if (call_) {
      wake_.wait_until(lock, sleeps_until_, earlier);
    } else {
      wake_.wait(lock, earlier);
    }
    if (stopped_ || !call_ || call_->serial != known || Clock::now() < call_->deadline) continue;
    const std::string what = describe(call_->name, call_->segment, Clock::now() - call_->begin);
    lock.unlock();
    report_(what);
    return;
  }
}

CallWatch::Call::Call(CallWatch* watch, Pace pace, const char* name, std::optional<uint32_t> segment) : watch_(watch) {
  if (watch_ == nullptr) return;
  const auto now = Clock::now();
  bool wake = false;
  {
    const std::lock_guard lock(watch_->mutex_);
    const auto deadline = now + watch_->limit_ * static_cast<uint32_t>(pace);
    watch_->call_ = UnderWay{++watch_->serial_, now, deadline, name, segment};
    wake = deadline < watch_->sleeps_until_;
    if (wake) watch_->sleeps_until_ = deadline;
  }
  if (wake) watch_->wake_.notify_one();
}

CallWatch::Call::~Call() {
  if (watch_ == nullptr) return;
  const std::lock_guard lock(watch_->mutex_);
  watch_->call_.reset();
}

}  // namespace lutra::session
