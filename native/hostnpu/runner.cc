#include "hostnpu/runner.h"

#include <algorithm>
#include <thread>

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxOwnThreads = 256;

}  // namespace

Runner::Runner(const BackendCustomConfig* config) {
  if (config != nullptr && config->run != nullptr) {
    lent_ = config->run;
    lent_context_ = config->pool_context;
  }
  const uint32_t wanted = config == nullptr ? 0 : config->threads;
  threads_ = std::clamp(wanted == 0 ? std::thread::hardware_concurrency() : wanted, 1u, kMaxOwnThreads);
}

void Runner::run_erased(uint32_t tasks, ThreadPool::Task task, void* context) {
  if (tasks == 0) return;
  if (lent_ != nullptr) {
    lent_(lent_context_, tasks, task, context);
    return;
  }
  std::call_once(once_, [this] { own_ = std::make_unique<ThreadPool>(threads_); });
  own_->run_erased(tasks, task, context);
}

}  // namespace lutra::hostnpu
