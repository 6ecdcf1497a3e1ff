// Executions that the client does not wait for.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "hostnpu/failure.h"
#include "hostnpu/turns.h"

namespace lutra::hostnpu {

/// One thread works the jobs off in their order, another one tells the client of each: a callback may therefore call anything, also what waits for the queue. The
/// threads begin with the first job.
class ExecutionQueue {
 public:
  static constexpr uint32_t kDefaultDepth = 64;

  struct Job {
    /// Takes the turn of the ticket and passes it on; does nothing else when it is cancelled. Does not throw.
    std::function<abi::Status(Turns::Ticket ticket, bool cancelled)> work;
    abi::NotifyFn notify;  // NULL: nobody asks
    void* parameter;
  };

  explicit ExecutionQueue(Turns& turns);
  ~ExecutionQueue() { close(); }
  ExecutionQueue(const ExecutionQueue&) = delete;
  ExecutionQueue& operator=(const ExecutionQueue&) = delete;

  /// How many jobs wait or run at a time; add() blocks while there are as many.
  void set_depth(uint32_t depth);
  /// Throws Failure(kGraphInvalidHandle) when the queue is closed, also while it waits for room.
  void add(Job job);
  /// Cancels what has not begun and waits until the rest has run and all notifications are out. Called from such a notification, it does not wait for that one.
  void close() noexcept;

 private:
  struct State;

  Turns& turns_;
  std::shared_ptr<State> state_;  // shared with the threads, which outlive the queue when they end it
  std::thread worker_, messenger_;
};

}  // namespace lutra::hostnpu
