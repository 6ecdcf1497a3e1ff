#include "budget.h"

#include <sanitizer/allocator_interface.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

namespace lutra::fuzz {
namespace {

constexpr double kSeconds = 1.0;  // of processor time, instrumented; a busy machine does not count

// Globals, because the allocator's hooks have no context. Budgets do not nest.
std::atomic<bool> g_counting{false};
std::atomic<bool> g_counts_mappings{false};
std::atomic<long long> g_alive{0};
std::atomic<size_t> g_peak{0};
std::atomic<size_t> g_limit{0};

double processor_seconds() noexcept {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void grow(size_t bytes) noexcept {
  if (!g_counting.load(std::memory_order_relaxed)) return;
  const long long alive = g_alive.fetch_add(static_cast<long long>(bytes)) + static_cast<long long>(bytes);
  if (alive <= 0) return;
  const auto now = static_cast<size_t>(alive);
  size_t peak = g_peak.load();
  while (now > peak && !g_peak.compare_exchange_weak(peak, now)) {
  }
  if (now <= g_limit.load()) return;
  g_counting = false;
  char line[128];
  std::snprintf(line, sizeof line, "%zu bytes alive, the last allocation had %zu, allowed are %zu", now, bytes, g_limit.load());
  fail(line);
}

void shrink(size_t bytes) noexcept {
  if (g_counting.load(std::memory_order_relaxed)) g_alive.fetch_sub(static_cast<long long>(bytes));
}

/// The mappings that are alive. Of fixed size, because it is used inside the allocator's calls; what does not fit is counted until the budget ends.
class Mappings {
 public:
  void add(void* address, size_t length) noexcept {
    const std::lock_guard lock(mutex_);
    for (Entry& one : entries_) {
      if (one.address != nullptr) continue;
      one = {address, length};
      return;
    }
  }
  /// Its length; 0 for an address that is not known.
  size_t remove(void* address) noexcept {
    const std::lock_guard lock(mutex_);
    for (Entry& one : entries_) {
      if (one.address != address) continue;
      one.address = nullptr;
      return one.length;
    }
    return 0;
  }

 private:
  struct Entry {
    void* address;
    size_t length;
  };
  std::mutex mutex_;
  std::array<Entry, 1024> entries_{};
};

Mappings g_mappings;

void on_malloc(const volatile void*, size_t bytes) { grow(bytes); }
void on_free(const volatile void* memory) {
  if (memory != nullptr && g_counting.load(std::memory_order_relaxed)) shrink(__sanitizer_get_allocated_size(memory));
}

}  // namespace

void fail(const char* what) noexcept {
  char line[256];
  const int length = std::snprintf(line, sizeof line, "fuzz: %s\n", what);
  if (length > 0) (void)!write(STDERR_FILENO, line, std::strlen(line));
  std::abort();
}

Budget::Budget(size_t bytes, Memory memory) noexcept : started_(processor_seconds()) {
  static const bool hooked = __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free) != 0;
  if (!hooked) fail("the allocator takes no hooks");
  g_alive = 0;
  g_peak = 0;
  g_limit = bytes;
  g_counts_mappings = memory == Memory::kAll;
  g_counting = true;
}

Budget::~Budget() {
  g_counting = false;
  const double seconds = processor_seconds() - started_;
  if (seconds <= kSeconds) return;
  char line[128];
  std::snprintf(line, sizeof line, "the input took %.1f s", seconds);
  fail(line);
}

size_t Budget::peak() const noexcept { return g_peak; }
long long Budget::alive() const noexcept { return g_alive; }

}  // namespace lutra::fuzz

// The linker sends the calls of our own objects here (--wrap): large buffers are mapped, not allocated.
extern "C" {
void* __real_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, size_t length);

void* __wrap_mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  void* const map = __real_mmap(address, length, protection, flags, fd, offset);
  if (map != MAP_FAILED && (flags & MAP_ANONYMOUS) != 0 && lutra::fuzz::g_counts_mappings) {
    lutra::fuzz::g_mappings.add(map, length);
    lutra::fuzz::grow(length);
  }
  return map;
}

int __wrap_munmap(void* address, size_t length) {
  lutra::fuzz::shrink(lutra::fuzz::g_mappings.remove(address));
  return __real_munmap(address, length);
}
}
