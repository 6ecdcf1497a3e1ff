// Where parallel work goes: the pool that the embedding program lends, or one of our own.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>

#include "base/thread_pool.h"
#include "hostnpu/hostnpu.h"

namespace lutra::hostnpu {

class Runner {
 public:
  /// NULL: an own pool with a thread for each processor, made at the first run.
  explicit Runner(const BackendCustomConfig* config);

  uint32_t threads() const noexcept { return threads_; }

  /// body(i) for i < tasks; returns when all are done. `body` must not throw. May be called from several threads.
  template <class Body>
  void run(uint32_t tasks, const Body& body) {
    if (tasks == 1) {
      body(uint32_t{0});
      return;
    }
    run_erased(tasks, [](void* context, uint32_t task) { (*static_cast<const Body*>(context))(task); }, const_cast<void*>(static_cast<const void*>(&body)));
  }

 private:
  void run_erased(uint32_t tasks, ThreadPool::Task task, void* context);

  uint32_t threads_ = 1;
  void* lent_context_ = nullptr;
  void (*lent_)(void*, uint32_t, void (*)(void*, uint32_t), void*) = nullptr;
  std::once_flag once_;
  std::unique_ptr<ThreadPool> own_;
};

}  // namespace lutra::hostnpu
