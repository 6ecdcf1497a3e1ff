#include "store/bus_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

namespace lutra::store {

/// Read by the handler on any thread at any time: never freed, used again once `begin` is 0.
struct BusGuard::Slot {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<bool> torn{false};
  Slot* next = nullptr;
};

namespace {

using Slot = BusGuard::Slot;

/// The signal belongs to the process, and so does this.
struct Process {
  std::atomic<Slot*> slots{nullptr};
  std::mutex mutex;         // of what follows
  size_t mappings = 0;
  struct sigaction before{};  // written before the handler is in place
};

Process& process() {
  static auto& state = *new Process;  // the handler may run to the very end
  return state;
}

void pass_on(int signal, siginfo_t* info, void* context) {
  const struct sigaction& before = process().before;
  if ((before.sa_flags & SA_SIGINFO) != 0) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler == SIG_DFL || before.sa_handler == SIG_IGN) {
    sigaction(signal, &before, nullptr);  // the access is made again, and ends as it would without us
  } else {
    before.sa_handler(signal);
  }
}

/// Only calls that a signal handler may make.
void on_bus_error(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const int saved = errno;
  for (Slot* slot = process().slots.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
    const uintptr_t begin = slot->begin.load(std::memory_order_acquire), end = slot->end.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= end) continue;
    const uintptr_t from = address / page * page, size = (end - from + page - 1) / page * page;
    if (mmap(reinterpret_cast<void*>(from), size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    slot->torn.store(true, std::memory_order_release);
    errno = saved;
    return;
  }
  errno = saved;
  pass_on(signal, info, context);
}

bool installed() {
  struct sigaction now{};
  sigaction(SIGBUS, nullptr, &now);
  return (now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_bus_error;
}

void install() {
  struct sigaction action{};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, nullptr, &process().before);
  sigaction(SIGBUS, &action, nullptr);
}

void uninstall() {
  // Somebody else's handler, which may pass on to ours, stays.
  if (installed()) sigaction(SIGBUS, &process().before, nullptr);
}


}  // namespace

BusGuard::BusGuard(std::span<const std::byte> mapping) {
  if (mapping.empty()) return;
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  for (Slot* slot = state.slots.load(std::memory_order_relaxed); slot != nullptr && slot_ == nullptr; slot = slot->next) {
    if (slot->begin.load(std::memory_order_relaxed) == 0) slot_ = slot;
  }
  if (slot_ == nullptr) {
    slot_ = new Slot;
    slot_->next = state.slots.load(std::memory_order_relaxed);
    state.slots.store(slot_, std::memory_order_release);
  }
  const auto begin = reinterpret_cast<uintptr_t>(mapping.data());
  slot_->torn.store(false, std::memory_order_relaxed);
  slot_->end.store(begin + mapping.size(), std::memory_order_release);
  slot_->begin.store(begin, std::memory_order_release);
  if (state.mappings++ == 0 && !installed()) install();
}

BusGuard::~BusGuard() { release(); }

BusGuard::BusGuard(BusGuard&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}

BusGuard& BusGuard::operator=(BusGuard&& other) noexcept {
  if (this != &other) {
    release();
    slot_ = std::exchange(other.slot_, nullptr);
  }
  return *this;
}

bool BusGuard::torn() const noexcept { return slot_ != nullptr && slot_->torn.load(std::memory_order_acquire); }

void BusGuard::release() noexcept {
  if (slot_ == nullptr) return;
  Process& state = process();
  const std::lock_guard lock(state.mutex);
  slot_->begin.store(0, std::memory_order_release);
  slot_ = nullptr;
  if (--state.mappings == 0) uninstall();
}

}  // namespace lutra::store
