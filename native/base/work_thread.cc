#include "base/work_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace lutra {

struct WorkThread::State {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  bool closing = false;
  bool ended = false;
};

WorkThread::WorkThread() : state_(std::make_shared<State>()), thread_([state = state_] { loop(*state); }) {}

void WorkThread::loop(State& state) {
  std::unique_lock lock(state.mutex);
  for (;;) {
    state.changed.wait(lock, [&state] { return state.closing || !state.queue.empty(); });
    if (state.queue.empty()) break;
    {
      const std::function<void()> work = std::exchange(state.queue.front(), nullptr);
      state.queue.pop_front();
      lock.unlock();
      work();
    }
    lock.lock();
  }
  state.ended = true;
  state.changed.notify_all();
}

void WorkThread::submit(std::function<void()> work) {
  const std::lock_guard lock(state_->mutex);
  if (state_->closing) return;
  state_->queue.push_back(std::move(work));
  state_->changed.notify_all();
}

bool WorkThread::end(std::optional<std::chrono::milliseconds> patience) {
  if (!thread_.joinable()) return ended_well_;
  {
    std::unique_lock lock(state_->mutex);
    state_->closing = true;
    state_->changed.notify_all();
    if (patience) ended_well_ = state_->changed.wait_for(lock, *patience, [this] { return state_->ended; });
  }
  if (ended_well_) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return ended_well_;
}

}  // namespace lutra
