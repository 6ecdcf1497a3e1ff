// A lock that is had in the order in which it was asked for.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace lutra::hostnpu {

class Turns {
 public:
  /// A place in the line. Whoever has one waits for it and passes on, whatever becomes of the work: all behind it wait.
  using Ticket = uint64_t;

  Ticket draw() {
    const std::lock_guard lock(mutex_);
    return next_++;
  }
  void await(Ticket ticket) {
    std::unique_lock lock(mutex_);
    passed_.wait(lock, [&] { return serving_ == ticket; });
  }
  void pass() {
    {
      const std::lock_guard lock(mutex_);
      ++serving_;
    }
    passed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable passed_;
  Ticket next_ = 0, serving_ = 0;
};

}  // namespace lutra::hostnpu
