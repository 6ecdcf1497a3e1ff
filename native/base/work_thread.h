// A thread that does work in the order in which it was given, and that can be left behind when a call does not return.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

namespace lutra {

/// Owned and used by one thread.
class WorkThread {
 public:
  WorkThread();
  ~WorkThread() { end(); }
  WorkThread(const WorkThread&) = delete;
  WorkThread& operator=(const WorkThread&) = delete;

  /// Queues `work`, which must not throw. It may outlive whoever submitted it (see end), so it owns what it uses. Ignored after end().
  void submit(std::function<void()> work);

  /// Takes no more work and waits until all that is queued is done, at most `patience`. False: it was not, and the thread goes on by itself; it ends when it is through,
  /// if ever. Idempotent.
  bool end(std::optional<std::chrono::milliseconds> patience = std::nullopt);

 private:
  struct State;
  static void loop(State& state);

  std::shared_ptr<State> state_;  // the thread holds it too
  std::thread thread_;
  bool ended_well_ = true;
};

}  // namespace lutra
