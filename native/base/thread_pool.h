// A small fork-join pool: workers spin briefly, then sleep, so that short regions are cheap and an idle pool costs nothing.
#pragma once

#include <cstdint>
#include <memory>

namespace lutra {

class ThreadPool {
 public:
  /// Pieces to cut a product into for each thread: long enough to be read as a stream, and what a descheduled thread holds delays all by one of them.
  static constexpr uint32_t kTasksPerThread = 16;

  /// `threads` counts the calling thread: 1 means no worker at all. 0 is treated as 1.
  explicit ThreadPool(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const noexcept;

  /// Runs body(task) for task = 0 … tasks−1 on the pool and the calling thread and returns when all are done. Every thread takes neighbouring tasks
  /// in order, and helps the others when it has none left, so a descheduled worker delays by one task at most. `body` must not throw. Calls from
  /// several threads are serialised; a call from inside a task runs its tasks inline.
  template <class Body>
  void run(uint32_t tasks, const Body& body) {
    run_erased(tasks, [](void* context, uint32_t task) { (*static_cast<const Body*>(context))(task); },
               const_cast<void*>(static_cast<const void*>(&body)));
  }

  using Task = void (*)(void* context, uint32_t task);
  void run_erased(uint32_t tasks, Task task, void* context);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lutra
