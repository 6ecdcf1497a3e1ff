#include "hostnpu/queue.h"

#include <deque>
#include <utility>

namespace lutra::hostnpu {

struct ExecutionQueue::State {
  struct Queued {
    Job job;
    Turns::Ticket ticket;
  };
  struct Done {
    abi::NotifyFn notify;
    void* parameter;
    abi::Status status;
  };

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<Queued> jobs;
  std::deque<Done> done;
  uint32_t depth = kDefaultDepth, unfinished = 0;
  bool started = false, closed = false, worker_ended = false;

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return !jobs.empty() || closed; });
      if (jobs.empty()) break;
      Queued next = std::move(jobs.front());
      jobs.pop_front();
      const bool cancelled = closed;
      lock.unlock();
      const abi::Status status = next.job.work(next.ticket, cancelled);
      next.job.work = nullptr;  // lets go of what the job holds before the client hears of it
      lock.lock();
      --unfinished;
      if (next.job.notify != nullptr) done.push_back({next.job.notify, next.job.parameter, status});
      changed.notify_all();
    }
    worker_ended = true;
    changed.notify_all();
  }

  void deliver() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [this] { return !done.empty() || worker_ended; });
      if (done.empty()) return;
      const Done next = done.front();
      done.pop_front();
      lock.unlock();
      next.notify(next.parameter, {next.status});
      lock.lock();
    }
  }
};

ExecutionQueue::ExecutionQueue(Turns& turns) : turns_(turns), state_(std::make_shared<State>()) {}

void ExecutionQueue::set_depth(uint32_t depth) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->depth = depth;
  }
  state_->changed.notify_all();
}

void ExecutionQueue::add(Job job) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.changed.wait(lock, [&state] { return state.closed || state.unfinished < state.depth; });
  if (state.closed) throw Failure(abi::kGraphInvalidHandle, "the context of the graph has been freed");
  // A thread that could not be started is tried again by the next job.
  if (!messenger_.joinable()) messenger_ = std::thread([held = state_] { held->deliver(); });
  if (!worker_.joinable()) worker_ = std::thread([held = state_] { held->work(); });
  state.started = true;
  // Drawn under the queue's lock: the order of the tickets is the order of the queue.
  state.jobs.push_back({std::move(job), 0});
  state.jobs.back().ticket = turns_.draw();
  ++state.unfinished;
  state.changed.notify_all();
}

void ExecutionQueue::close() noexcept {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closed = true;
    if (!state_->started) state_->worker_ended = true;
  }
  state_->changed.notify_all();
  // A thread cannot wait for itself; the client may be called from both, by a notification or by a log line.
  const auto self = std::this_thread::get_id();
  const bool on_worker = worker_.get_id() == self, on_messenger = messenger_.get_id() == self;
  const auto finish = [](std::thread& thread, bool wait) {
    if (!thread.joinable()) return;
    if (wait) {
      thread.join();
    } else {
      thread.detach();
    }
  };
  finish(worker_, !on_worker);
  finish(messenger_, !on_worker && !on_messenger);
}

}  // namespace lutra::hostnpu
