#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/error.h"

namespace lutra {
namespace {

constexpr uint32_t kMaxThreads = 1024;
// Regions of a decode step follow each other within microseconds; a sleep and a wake-up cost more than this.
constexpr std::chrono::microseconds kSpin{20};

inline void relax() noexcept {
#if defined(LUTRA_X86)
  __builtin_ia32_pause();
#elif defined(LUTRA_ARM64)
  __asm__ __volatile__("yield");
#endif
}

/// Polls `ready` for about kSpin; true when it became true.
template <class Ready>
bool spin(const Ready& ready) noexcept {
  if (ready()) return true;
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      relax();
      if (ready()) return true;
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

}  // namespace

// A region is published as one word, ticket = region number << 32 | tasks not yet taken. Taking a task is a compare-exchange of that word, so a worker that wakes
// late cannot take a task of a region that it knows nothing of; and a region whose task is taken cannot end, so its descriptor may be read after that.
struct ThreadPool::State {
  // Each on its own cache line: the ticket is fought over, `pending` is hit once per task, the rest is read-mostly.
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<uint32_t> pending{0};  // tasks not yet finished
  alignas(64) Task task = nullptr;               // descriptor of the region; written only while no task is out
  void* context = nullptr;
  uint32_t tasks = 0;
  std::atomic<uint32_t> sleepers{0};  // workers asleep or about to be
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};
  std::atomic<std::thread::id> caller{};  // the thread inside run_erased

  std::mutex caller_mutex;  // one region at a time
  std::mutex sleep_mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  std::vector<std::thread> workers;

  static bool has_task(uint64_t word) noexcept { return static_cast<uint32_t>(word) != 0; }

  /// Runs tasks until none is left to take.
  void drain() noexcept {
    uint64_t word = ticket.load(std::memory_order_acquire);
    while (has_task(word)) {
      if (!ticket.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      task(context, tasks - static_cast<uint32_t>(word));
      if (pending.fetch_sub(1, std::memory_order_seq_cst) == 1 && caller_sleeps.load(std::memory_order_seq_cst)) {
        const std::lock_guard lock(sleep_mutex);
        work_done.notify_one();
      }
      word = ticket.load(std::memory_order_acquire);
    }
  }

  void work() noexcept {
    const auto ready = [this] { return has_task(ticket.load(std::memory_order_seq_cst)) || stop.load(std::memory_order_relaxed); };
    while (!stop.load(std::memory_order_relaxed)) {
      if (!spin(ready)) {
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1, std::memory_order_seq_cst);  // before `ready` is looked at again: see wake()
        work_ready.wait(lock, ready);
        sleepers.fetch_sub(1, std::memory_order_relaxed);
      }
      drain();
    }
  }

  /// After the ticket was stored: a worker either saw the ticket or is counted in `sleepers`, and one that is counted holds the mutex until it waits.
  void wake(uint32_t wanted) {
    const uint32_t asleep = sleepers.load(std::memory_order_seq_cst);
    if (asleep == 0) return;
    { const std::lock_guard lock(sleep_mutex); }
    if (wanted >= asleep) {
      work_ready.notify_all();
    } else {
      for (uint32_t i = 0; i < wanted; ++i) work_ready.notify_one();
    }
  }

  void wait_done() {
    const auto done = [this] { return pending.load(std::memory_order_seq_cst) == 0; };
    if (spin(done)) return;
    // A worker that holds the last task is slow or descheduled: give it the core.
    std::unique_lock lock(sleep_mutex);
    caller_sleeps.store(true, std::memory_order_seq_cst);
    work_done.wait(lock, done);
    caller_sleeps.store(false, std::memory_order_relaxed);
  }

  bool is_inside() const noexcept {
    const std::thread::id self = std::this_thread::get_id();
    if (caller.load(std::memory_order_relaxed) == self) return true;
    for (const std::thread& worker : workers) {
      if (worker.get_id() == self) return true;
    }
    return false;
  }

  void shut_down() noexcept {
    stop.store(true, std::memory_order_seq_cst);
    { const std::lock_guard lock(sleep_mutex); }
    work_ready.notify_all();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(uint32_t threads) : state_(std::make_unique<State>()) {
  if (threads > kMaxThreads) {
    throw Error(ErrorCode::kInvalidArgument, std::to_string(threads) + " threads are more than the limit of " + std::to_string(kMaxThreads),
                "use about as many threads as the machine has cores");
  }
  state_->workers.reserve(threads);
  // Workers look at `workers` only from inside a task, and no task runs before the constructor has returned.
  for (uint32_t i = 1; i < threads; ++i) {
    try {
      state_->workers.emplace_back([state = state_.get()] { state->work(); });
    } catch (const std::system_error& e) {
      state_->shut_down();
      throw Error(ErrorCode::kOutOfMemory, "cannot start thread " + std::to_string(i + 1) + " of " + std::to_string(threads) + ": " + e.what(), "use fewer threads");
    }
  }
}

ThreadPool::~ThreadPool() { state_->shut_down(); }

uint32_t ThreadPool::threads() const noexcept { return static_cast<uint32_t>(state_->workers.size()) + 1; }

void ThreadPool::run_erased(uint32_t tasks, Task task, void* context) {
  State& s = *state_;
  if (tasks == 0) return;
  if (s.is_inside()) {
    for (uint32_t i = 0; i < tasks; ++i) task(context, i);
    return;
  }
  const std::lock_guard lock(s.caller_mutex);
  s.caller.store(std::this_thread::get_id(), std::memory_order_relaxed);
  if (tasks == 1 || s.workers.empty()) {
    for (uint32_t i = 0; i < tasks; ++i) task(context, i);
  } else {
    s.task = task;
    s.context = context;
    s.tasks = tasks;
    s.pending.store(tasks, std::memory_order_relaxed);
    const uint64_t region = (s.ticket.load(std::memory_order_relaxed) >> 32) + 1;
    s.ticket.store(region << 32 | tasks, std::memory_order_seq_cst);
    s.wake(tasks - 1);
    s.drain();
    s.wait_done();
  }
  s.caller.store(std::thread::id(), std::memory_order_relaxed);
}

}  // namespace lutra
