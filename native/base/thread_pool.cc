#include "base/thread_pool.h"

#include <algorithm>
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

// A region is published as one word, ticket = region number << 32 | workers that may still join. Joining is a compare-exchange of that word, so a worker that wakes late cannot join a region that
// it knows nothing of; the caller closes the region when nothing is left to take and waits for those who joined, so its descriptor may be read while one is inside.
// Tasks are dealt out as one run of neighbours a participant, who takes its own from the front, so that it reads memory in one stream, and those of others, when it has none left, from the back.
struct ThreadPool::State {
  /// Tasks of a participant that nobody has taken: first << 32 | end.
  struct alignas(64) Share {
    std::atomic<uint64_t> range{0};
  };

  explicit State(uint32_t threads) : shares(threads) {}

  // Each on its own cache line: the ticket is fought over, the rest is read-mostly.
  alignas(64) std::atomic<uint64_t> ticket{0};
  alignas(64) std::atomic<uint32_t> left{0};  // workers that joined and have left again
  alignas(64) Task task = nullptr;            // descriptor of the region; written only while nobody is inside
  void* context = nullptr;
  uint32_t participants = 0;
  std::vector<Share> shares;          // of the participants of a region; the first is the caller's
  std::atomic<uint32_t> sleepers{0};  // workers asleep or about to be
  std::atomic<bool> caller_sleeps{false};
  std::atomic<bool> stop{false};
  std::atomic<std::thread::id> caller{};  // the thread inside run_erased

  std::mutex caller_mutex;  // one region at a time
  std::mutex sleep_mutex;
  std::condition_variable work_ready;
  std::condition_variable work_done;
  std::vector<std::thread> workers;

  static uint32_t low_word(uint64_t word) noexcept { return static_cast<uint32_t>(word); }

  /// Takes the first or the last task of a share.
  static bool take(Share& share, bool first, uint32_t& out) noexcept {
    uint64_t range = share.range.load(std::memory_order_relaxed);
    for (;;) {
      const uint32_t begin = static_cast<uint32_t>(range >> 32), end = low_word(range);
      if (begin == end) return false;
      out = first ? begin : end - 1;
      if (share.range.compare_exchange_weak(range, first ? range + (uint64_t{1} << 32) : range - 1, std::memory_order_relaxed)) return true;
    }
  }

  /// Runs tasks until none is left to take, its own first.
  void drain(uint32_t participant) noexcept {
    for (uint32_t i = 0; i < participants; ++i) {
      Share& share = shares[(participant + i) % participants];
      for (uint32_t one; take(share, i == 0, one);) task(context, one);
    }
  }

  /// Joins the region that is open, if there is one.
  void join() noexcept {
    uint64_t word = ticket.load(std::memory_order_acquire);
    while (low_word(word) != 0) {
      if (!ticket.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      drain(low_word(word));
      left.fetch_add(1, std::memory_order_seq_cst);
      if (caller_sleeps.load(std::memory_order_seq_cst)) {
        const std::lock_guard lock(sleep_mutex);
        work_done.notify_one();
      }
      return;
    }
  }

  void work() noexcept {
    const auto ready = [this] { return low_word(ticket.load(std::memory_order_seq_cst)) != 0 || stop.load(std::memory_order_relaxed); };
    while (!stop.load(std::memory_order_relaxed)) {
      if (!spin(ready)) {
        std::unique_lock lock(sleep_mutex);
        sleepers.fetch_add(1, std::memory_order_seq_cst);  // before `ready` is looked at again: see wake()
        work_ready.wait(lock, ready);
        sleepers.fetch_sub(1, std::memory_order_relaxed);
      }
      join();
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

  /// Waits for the `joined` workers that may hold a task.
  void wait_left(uint32_t joined) {
    const auto done = [this, joined] { return left.load(std::memory_order_seq_cst) == joined; };
    if (spin(done)) return;
    // A worker that holds the last task is slow or descheduled: give it the core.
    std::unique_lock lock(sleep_mutex);
    caller_sleeps.store(true, std::memory_order_seq_cst);
    work_done.wait(lock, done);
    caller_sleeps.store(false, std::memory_order_relaxed);
  }

  /// A region of at least two tasks, on two threads or more.
  void run_region(uint32_t tasks, Task body, void* data) {
    task = body;
    context = data;
    participants = std::min<uint32_t>(tasks, static_cast<uint32_t>(shares.size()));
    for (uint64_t i = 0; i < participants; ++i) {
      shares[i].range.store((i * tasks / participants) << 32 | (i + 1) * tasks / participants, std::memory_order_relaxed);
    }
    left.store(0, std::memory_order_relaxed);
    const uint64_t region = ((ticket.load(std::memory_order_relaxed) >> 32) + 1) << 32;
    ticket.store(region | (participants - 1), std::memory_order_seq_cst);
    wake(participants - 1);
    drain(0);
    wait_left(participants - 1 - low_word(ticket.exchange(region, std::memory_order_acq_rel)));
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

ThreadPool::ThreadPool(uint32_t threads) : state_(std::make_unique<State>(threads <= kMaxThreads ? std::max(threads, 1u) : 1)) {
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
    s.run_region(tasks, task, context);
  }
  s.caller.store(std::thread::id(), std::memory_order_relaxed);
}

}  // namespace lutra
