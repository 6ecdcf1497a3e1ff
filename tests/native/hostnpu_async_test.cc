// Executions of the host NPU that nobody waits for, and signals that end calls.
#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

/// What a client collects of its notifications.
class Inbox {
 public:
  static void notify(void* parameter, abi::NotifyStatus status) {
    auto& entry = *static_cast<Entry*>(parameter);
    // A callback of the test runs before the notification counts.
    if (entry.then) entry.then();
    const std::lock_guard lock(entry.inbox->mutex_);
    entry.inbox->statuses_.emplace_back(entry.number, status.error);
    entry.inbox->arrived_.notify_all();
  }
  struct Entry {
    Inbox* inbox;
    uint32_t number;
    std::function<void()> then;
  };
  Entry* entry(std::function<void()> then = {}) { return &entries_.emplace_back(Entry{this, static_cast<uint32_t>(entries_.size()), std::move(then)}); }
  /// Numbers and statuses in the order of arrival, once there are `count`.
  std::vector<std::pair<uint32_t, Status>> await(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(arrived_.wait_for(lock, std::chrono::seconds(60), [&] { return statuses_.size() >= count; })) << statuses_.size() << " of " << count;
    return statuses_;
  }
  size_t size() {
    const std::lock_guard lock(mutex_);
    return statuses_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Entry> entries_;
  std::vector<std::pair<uint32_t, Status>> statuses_;
};

/// A pool that computes only while its gate is open, so that an execution is under way for as long as a test wants.
class Gate {
 public:
  Gate() : config_{{}, 2, this, run} { std::memcpy(config_.magic, hostnpu::kCustomConfigMagic, sizeof config_.magic); }
  const hostnpu::BackendCustomConfig* config() const { return &config_; }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void shut() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  /// Until somebody stands before the gate.
  void await_visitor() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return waiting_ != 0; }));
  }

 private:
  static void run(void* context, uint32_t tasks, void (*task)(void*, uint32_t), void* argument) {
    auto& gate = *static_cast<Gate*>(context);
    {
      std::unique_lock lock(gate.mutex_);
      ++gate.waiting_;
      gate.changed_.notify_all();
      gate.changed_.wait(lock, [&gate] { return gate.open_; });
      --gate.waiting_;
    }
    for (uint32_t i = 0; i < tasks; ++i) task(argument, i);
  }
  hostnpu::BackendCustomConfig config_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int waiting_ = 0;
};

/// A finalized chain, large enough that its work goes to the pool, and executions of it with buffers of their own.
class Chain {
 public:
  explicit Chain(Session& session, const char* name = "g") : graph_(session, name) {
    build_chain(graph_, 64, 96, 130);
    EXPECT_EQ(graph_.finalize(), 0u);
    EXPECT_EQ(graph_.execute(), 0u);
    wanted_ = graph_.tensors.back().data;
  }
  const std::vector<std::byte>& wanted() const { return wanted_; }
  abi::GraphHandle handle() const { return graph_.handle; }

  Status execute(std::vector<std::byte>& y, abi::SignalHandle signal = nullptr) {
    Call call(*this, y);
    return slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(graph_.handle, &call.in, 1, &call.out, 1, nullptr, signal);
  }
  Status execute_async(std::vector<std::byte>& y, Inbox::Entry* entry, abi::SignalHandle signal = nullptr) {
    Call call(*this, y);  // the structures end with this function, the buffers do not
    return slot<abi::GraphExecuteAsyncFn>(Slot::kGraphExecuteAsync)(graph_.handle, &call.in, 1, &call.out, 1, nullptr, signal, entry == nullptr ? nullptr : Inbox::notify, entry);
  }
  std::vector<std::byte> buffer() const { return std::vector<std::byte>(wanted_.size()); }

 private:
  struct Call {
    Call(Chain& chain, std::vector<std::byte>& y) : in(chain.graph_.tensors.front().qnn), out(chain.graph_.tensors.back().qnn) {
      std::vector<std::byte>& x = chain.graph_.tensors.front().data;
      in.v1.client = {x.data(), static_cast<uint32_t>(x.size())};
      out.v1.client = {y.data(), static_cast<uint32_t>(y.size())};
    }
    abi::Tensor in, out;
  };
  TestGraph graph_;
  std::vector<std::byte> wanted_;
};

Status set_depth(abi::ContextHandle context, uint32_t depth) {
  abi::ContextConfig config{};
  config.option = abi::ContextOption::kAsyncQueueDepth;
  const abi::AsyncQueueDepth value{0, depth};
  std::memcpy(&config.value, &value, sizeof value);
  const abi::ContextConfig* list[] = {&config, nullptr};
  return slot<abi::ContextSetConfigFn>(Slot::kContextSetConfig)(context, list);
}

TEST(HostNpuAsync, InOrderWithTheRightResults) {
  Session session;
  Chain chain(session);
  Inbox inbox;
  std::deque<std::vector<std::byte>> outputs;
  constexpr uint32_t kCount = 200;  // more than the queue holds
  for (uint32_t i = 0; i < kCount; ++i) ASSERT_EQ(chain.execute_async(outputs.emplace_back(chain.buffer()), inbox.entry()), 0u);
  const auto statuses = inbox.await(kCount);
  for (uint32_t i = 0; i < kCount; ++i) {
    EXPECT_EQ(statuses[i], std::pair(i, Status{0}));
    EXPECT_EQ(outputs[i], chain.wanted());
  }
  // Nobody needs to be notified; who executes next and waits comes after all that is queued.
  for (uint32_t i = 0; i < 10; ++i) {
    std::fill(outputs[i].begin(), outputs[i].end(), std::byte{0});
    ASSERT_EQ(chain.execute_async(outputs[i], nullptr), 0u);
  }
  auto y = chain.buffer();
  EXPECT_EQ(chain.execute(y), 0u);
  for (uint32_t i = 0; i < 10; ++i) EXPECT_EQ(outputs[i], chain.wanted());
}

TEST(HostNpuAsync, WrongCallsAreNotNotified) {
  Session session;
  Chain chain(session);
  TestGraph open(session, "open");
  Inbox inbox;
  auto y = chain.buffer();
  const auto call = slot<abi::GraphExecuteAsyncFn>(Slot::kGraphExecuteAsync);
  EXPECT_EQ(call(open.handle, nullptr, 0, nullptr, 0, nullptr, nullptr, Inbox::notify, inbox.entry()), abi::kGraphNotFinalized);
  EXPECT_EQ(call(chain.handle(), nullptr, 0, nullptr, 0, nullptr, nullptr, Inbox::notify, inbox.entry()), abi::kGraphInvalidArgument);
  EXPECT_EQ(call(chain.handle(), nullptr, 1, nullptr, 0, nullptr, nullptr, Inbox::notify, inbox.entry()), abi::kGraphInvalidArgument);
  y.pop_back();
  EXPECT_EQ(chain.execute_async(y, inbox.entry()), abi::kGraphInvalidArgument);
  y.push_back({});
  EXPECT_EQ(chain.execute_async(y, inbox.entry(), reinterpret_cast<abi::SignalHandle>(session.context)), abi::kSignalInvalidHandle);
  EXPECT_EQ(chain.execute(y), 0u);
  EXPECT_EQ(inbox.size(), 0u);
}

TEST(HostNpuAsync, DepthOfTheQueue) {
  Gate gate;
  Session session(gate.config());
  Chain chain(session);
  for (const uint32_t wrong : {0u, 1u << 20}) EXPECT_EQ(set_depth(session.context, wrong), abi::kContextInvalidConfig);
  ASSERT_EQ(set_depth(session.context, 2), 0u);
  Inbox inbox;
  auto a = chain.buffer(), b = chain.buffer(), c = chain.buffer();
  gate.shut();
  EXPECT_EQ(chain.execute_async(a, inbox.entry()), 0u);
  EXPECT_EQ(chain.execute_async(b, inbox.entry()), 0u);
  auto third = std::async(std::launch::async, [&] { return chain.execute_async(c, inbox.entry()); });
  EXPECT_EQ(third.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  EXPECT_EQ(inbox.size(), 0u);
  gate.open();
  EXPECT_EQ(third.get(), 0u);
  inbox.await(3);
  EXPECT_EQ(c, chain.wanted());
}

TEST(HostNpuAsync, FreeingTheContextCancelsWhatHasNotBegun) {
  Gate gate;
  Session session(gate.config());
  Chain chain(session);
  ASSERT_EQ(set_depth(session.context, 3), 0u);
  Inbox inbox;
  auto a = chain.buffer(), b = chain.buffer(), c = chain.buffer();
  gate.shut();
  for (auto* y : {&a, &b, &c}) ASSERT_EQ(chain.execute_async(*y, inbox.entry()), 0u);
  gate.await_visitor();
  auto waits_for_room = std::async(std::launch::async, [&] { return chain.execute_async(b, inbox.entry()); });
  const abi::ContextHandle context = std::exchange(session.context, nullptr);
  auto freed = std::async(std::launch::async, [context] { return slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr); });
  // The handle is gone at once, the call returns when the execution under way has ended.
  while (set_depth(context, 3) == 0) std::this_thread::yield();
  EXPECT_EQ(freed.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  gate.open();
  EXPECT_EQ(freed.get(), 0u);
  EXPECT_EQ(inbox.size(), 3u);  // all of them, before contextFree returned
  EXPECT_EQ(waits_for_room.get(), abi::kGraphInvalidHandle);
  const auto statuses = inbox.await(3);
  EXPECT_EQ(statuses[0], std::pair(0u, Status{0}));
  EXPECT_EQ(statuses[1], std::pair(1u, Status{abi::kGraphAborted}));
  EXPECT_EQ(statuses[2], std::pair(2u, Status{abi::kGraphAborted}));
  EXPECT_EQ(a, chain.wanted());
  EXPECT_EQ(c, chain.buffer());
}

TEST(HostNpuAsync, NotificationsMayCallAnything) {
  Session session;
  Chain chain(session);
  ASSERT_EQ(set_depth(session.context, 1), 0u);
  // One after the other, each asked for by the notification of the last.
  Inbox inbox;
  auto y = chain.buffer();
  std::atomic<int> left{50};
  std::function<void()> next = [&] {
    if (--left > 0) {
      EXPECT_EQ(chain.execute_async(y, inbox.entry(next)), 0u);
    }
  };
  ASSERT_EQ(chain.execute_async(y, inbox.entry(next)), 0u);
  inbox.await(50);
  EXPECT_EQ(y, chain.wanted());
  // One that waits for its turn behind what is queued.
  Inbox second;
  auto waited = chain.buffer(), queued = chain.buffer();
  ASSERT_EQ(chain.execute_async(y, second.entry([&] { EXPECT_EQ(chain.execute(waited), 0u); })), 0u);
  ASSERT_EQ(chain.execute_async(queued, second.entry()), 0u);
  second.await(2);
  EXPECT_EQ(waited, chain.wanted());
  EXPECT_EQ(queued, chain.wanted());
  // And one that ends the context.
  Inbox last;
  std::atomic<Status> freed{99};
  ASSERT_EQ(chain.execute_async(y, last.entry([&] { freed = slot<abi::ContextFreeFn>(Slot::kContextFree)(std::exchange(session.context, nullptr), nullptr); })), 0u);
  last.await(1);
  EXPECT_EQ(freed, 0u);
  EXPECT_EQ(chain.execute(y), abi::kGraphInvalidHandle);
}

TEST(HostNpuAsync, SeveralContextsAndThreads) {
  Session one, two;
  Chain a(one), b(two);
  ASSERT_EQ(set_depth(one.context, 3), 0u);
  std::vector<std::thread> threads;
  std::atomic<uint32_t> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Chain& chain = t % 2 == 0 ? a : b;
      Inbox inbox;
      std::deque<std::vector<std::byte>> outputs;
      for (int i = 0; i < 40; ++i) {
        auto& y = outputs.emplace_back(chain.buffer());
        if (i % 5 == 4) {
          wrong += chain.execute(y) != 0 || y != chain.wanted();
        } else {
          wrong += chain.execute_async(y, inbox.entry()) != 0;
        }
      }
      inbox.await(32);
      for (const auto& y : outputs) wrong += y != chain.wanted();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

// --------------------------------------------------------------------------------------------------------------- signals

/// A signal with one option, or without any.
struct TestSignal {
  explicit TestSignal(const Session& session, std::optional<abi::SignalOption> option = {}, uint64_t value = 0) {
    abi::SignalConfig config{};
    if (option) config.option = *option;
    config.value = value;
    const abi::SignalConfig* list[] = {option ? &config : nullptr, nullptr};
    EXPECT_EQ(slot<abi::SignalCreateFn>(Slot::kSignalCreate)(session.backend, list, &handle), 0u);
  }
  ~TestSignal() { EXPECT_EQ(free(), freed ? abi::kSignalInvalidHandle : 0u); }
  Status trigger() const { return slot<abi::SignalTriggerFn>(Slot::kSignalTrigger)(handle); }
  Status free() const { return slot<abi::SignalFreeFn>(Slot::kSignalFree)(handle); }
  abi::SignalHandle handle{};
  bool freed = false;
};

TEST(HostNpuSignals, EndQueuedExecutions) {
  Gate gate;
  Session session(gate.config());
  Chain chain(session);
  TestSignal first(session, abi::SignalOption::kAbort), second(session, abi::SignalOption::kAbort), unused(session, abi::SignalOption::kAbort);
  Inbox inbox;
  auto a = chain.buffer(), b = chain.buffer(), c = chain.buffer();
  gate.shut();
  ASSERT_EQ(chain.execute_async(a, inbox.entry(), first.handle), 0u);
  ASSERT_EQ(chain.execute_async(b, inbox.entry(), second.handle), 0u);
  ASSERT_EQ(chain.execute_async(c, inbox.entry(), unused.handle), 0u);
  gate.await_visitor();
  // A signal serves one call at a time.
  EXPECT_EQ(chain.execute_async(c, inbox.entry(), first.handle), abi::kGraphSignalInUse);
  EXPECT_EQ(first.free(), abi::kSignalInUse);
  EXPECT_EQ(slot<abi::SignalSetConfigFn>(Slot::kSignalSetConfig)(first.handle, nullptr), abi::kSignalInUse);
  // The first is under way, the second waits.
  EXPECT_EQ(first.trigger(), 0u);
  EXPECT_EQ(second.trigger(), 0u);
  gate.open();
  const auto statuses = inbox.await(3);
  EXPECT_EQ(statuses[0].second, abi::kGraphAborted);
  EXPECT_EQ(statuses[1].second, abi::kGraphAborted);
  EXPECT_EQ(statuses[2].second, 0u);
  EXPECT_EQ(c, chain.wanted());
  // Free again, and not triggered any more.
  EXPECT_EQ(first.trigger(), abi::kSignalIdle);
  EXPECT_EQ(chain.execute(a, first.handle), 0u);
  EXPECT_EQ(a, chain.wanted());
}

TEST(HostNpuSignals, EndCallsThatAreWaitedFor) {
  Session session;
  Chain chain(session);
  TestSignal signal(session, abi::SignalOption::kAbort);
  std::atomic<bool> done{false};
  std::atomic<uint32_t> other_statuses{0};
  std::thread trigger([&] {
    while (!done) {
      const Status status = signal.trigger();
      if (status != 0 && status != abi::kSignalIdle) ++other_statuses;
    }
  });
  auto y = chain.buffer();
  uint32_t aborted = 0, completed = 0;
  for (uint32_t i = 0; i < 20000 && (aborted < 20 || completed < 20); ++i) {
    const Status status = chain.execute(y, signal.handle);
    ASSERT_TRUE(status == 0 || status == abi::kGraphAborted) << status;
    if (status == 0) {
      EXPECT_EQ(y, chain.wanted());
    }
    ++(status == 0 ? completed : aborted);
  }
  done = true;
  trigger.join();
  EXPECT_GT(aborted, 0u);
  EXPECT_EQ(other_statuses, 0u);
}

TEST(HostNpuSignals, TimeOut) {
  Session session;
  Chain chain(session);
  TestSignal at_once(session, abi::SignalOption::kTimeout, 0), an_hour(session, abi::SignalOption::kTimeout, 3600ull * 1000000), for_ever(session, abi::SignalOption::kTimeout, UINT64_MAX);
  auto y = chain.buffer();
  EXPECT_EQ(chain.execute(y, at_once.handle), abi::kGraphTimedOut);
  EXPECT_EQ(chain.execute(y, an_hour.handle), 0u);
  EXPECT_EQ(chain.execute(y, for_ever.handle), 0u);
  EXPECT_EQ(y, chain.wanted());
  EXPECT_EQ(at_once.trigger(), abi::kSignalIncompatibleType);
  TestGraph graph(session, "other");
  build_chain(graph);
  EXPECT_EQ(slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(graph.handle, nullptr, at_once.handle), abi::kGraphTimedOut);
  EXPECT_EQ(graph.finalize(), abi::kGraphFinalizeFailed);

  Session source;
  Chain stored(source);
  const auto bytes = binary_of(source);
  const auto from_binary = slot<abi::ContextCreateFromBinaryWithSignalFn>(Slot::kContextCreateFromBinaryWithSignal);
  abi::ContextHandle loaded{};
  EXPECT_EQ(from_binary(session.backend, session.device, nullptr, bytes.data(), bytes.size(), &loaded, nullptr, at_once.handle), abi::kContextTimedOut);
  ASSERT_EQ(from_binary(session.backend, session.device, nullptr, bytes.data(), bytes.size(), &loaded, nullptr, an_hour.handle), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
}

TEST(HostNpuSignals, WrongUse) {
  Session session;
  TestSignal plain(session), abort(session, abi::SignalOption::kAbort), custom(session, abi::SignalOption::kCustom, 5);
  EXPECT_EQ(plain.trigger(), abi::kSignalIncompatibleType);
  EXPECT_EQ(custom.trigger(), abi::kSignalIncompatibleType);
  EXPECT_EQ(abort.trigger(), abi::kSignalIdle);
  abi::SignalConfig both[2] = {};
  both[0].option = abi::SignalOption::kAbort;
  both[1].option = abi::SignalOption::kTimeout;
  const abi::SignalConfig* list[] = {&both[0], &both[1], nullptr};
  abi::SignalHandle made{};
  EXPECT_EQ(slot<abi::SignalCreateFn>(Slot::kSignalCreate)(session.backend, list, &made), abi::kSignalInvalidArgument);
  EXPECT_EQ(slot<abi::SignalCreateFn>(Slot::kSignalCreate)(session.backend, nullptr, nullptr), abi::kSignalInvalidArgument);
  EXPECT_EQ(slot<abi::SignalCreateFn>(Slot::kSignalCreate)(nullptr, nullptr, &made), abi::kBackendInvalidHandle);
  EXPECT_EQ(slot<abi::SignalSetConfigFn>(Slot::kSignalSetConfig)(plain.handle, list + 1), 0u);  // now a timeout
  Chain chain(session);
  auto y = chain.buffer();
  EXPECT_EQ(chain.execute(y, plain.handle), abi::kGraphTimedOut);
  EXPECT_EQ(slot<abi::SignalSetConfigFn>(Slot::kSignalSetConfig)(plain.handle, nullptr), 0u);
  EXPECT_EQ(chain.execute(y, plain.handle), 0u);
  EXPECT_EQ(abort.free(), 0u);
  abort.freed = true;
}

}  // namespace
}  // namespace lutra::test
