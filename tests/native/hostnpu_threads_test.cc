// Executions of the host NPU from several threads, and the pool that it is lent.
#include <atomic>
#include <thread>

#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

TEST(HostNpuThreads, ExecutionsFromSeveralThreads) {
  Session one, two;
  TestGraph a(one, "a"), b(one, "b"), c(two, "c");
  build_chain(a, 64, 96, 130);
  build_chain(b, 20, 40, 70);
  build_chain(c, 33, 64, 64);
  for (TestGraph* graph : {&a, &b, &c}) {
    ASSERT_EQ(graph->finalize(), 0u);
    ASSERT_EQ(graph->execute(), 0u);
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (TestGraph* graph : {&a, &b, &c, &a, &c}) {
    threads.emplace_back([graph, &wrong] {
      const std::vector<std::byte> wanted = graph->tensors.back().data;
      const TestTensor& x = graph->tensors.front();
      std::vector<std::byte> y(wanted.size());
      for (int round = 0; round < 200; ++round) {
        abi::Tensor in = x.qnn, out = graph->tensors.back().qnn;
        in.v1.client = {const_cast<std::byte*>(x.data.data()), static_cast<uint32_t>(x.data.size())};
        out.v1.client = {y.data(), static_cast<uint32_t>(y.size())};
        std::fill(y.begin(), y.end(), std::byte{0});
        if (slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(graph->handle, &in, 1, &out, 1, nullptr, nullptr) != 0 || y != wanted) ++wrong;
      }
    });
  }
  // Meanwhile another graph of the first context is built and finalized, which may enlarge its arena.
  TestGraph late(one, "late");
  build_chain(late, 200, 200, 300);
  EXPECT_EQ(late.finalize(), 0u);
  EXPECT_EQ(late.execute(), 0u);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Backends, devices and contexts come and go while others compute.
TEST(HostNpuThreads, BackendsThatComeAndGo) {
  Session lasting;
  TestGraph steady(lasting, "steady");
  build_chain(steady, 32, 64, 96);
  ASSERT_EQ(steady.finalize(), 0u);
  ASSERT_EQ(steady.execute(), 0u);
  const auto wanted = steady.tensors.back().data;
  const auto bytes = binary_of(lasting);
  std::atomic<uint32_t> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        Session session;
        if (t % 2 == 0) {
          TestGraph graph(session, "steady");
          build_chain(graph, 32, 64, 96);
          for (int i = 0; i < 3; ++i) wrong += (i == 0 && graph.finalize() != 0) || graph.execute() != 0 || graph.tensors.back().data != wanted;
          continue;
        }
        abi::ContextHandle loaded{};
        abi::GraphHandle handle{};
        std::vector<std::byte> x = steady.tensors.front().data, y(wanted.size());
        abi::Tensor in = steady.tensors.front().qnn, out = steady.tensors.back().qnn;
        in.v1.client = {x.data(), static_cast<uint32_t>(x.size())};
        out.v1.client = {y.data(), static_cast<uint32_t>(y.size())};
        wrong += load(session, bytes, &loaded) != 0 || slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(loaded, "steady", &handle) != 0;
        // The backend may go before its context.
        wrong += slot<abi::BackendFreeFn>(Slot::kBackendFree)(session.backend) != 0;
        EXPECT_EQ(slot<abi::BackendCreateFn>(Slot::kBackendCreate)(session.log, nullptr, &session.backend), 0u);
        wrong += slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(handle, &in, 1, &out, 1, nullptr, nullptr) != 0 || y != wanted;
        wrong += slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr) != 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

struct CountingPool {
  std::atomic<uint32_t> regions{0}, tasks{0};
  static void run(void* context, uint32_t count, void (*task)(void*, uint32_t), void* argument) {
    auto* pool = static_cast<CountingPool*>(context);
    ++pool->regions;
    pool->tasks += count;
    for (uint32_t i = count; i != 0; --i) task(argument, i - 1);  // backwards: the order must not matter
  }
};

TEST(HostNpuThreads, LentPoolGivesTheSameResult) {
  std::vector<std::vector<std::byte>> results;
  for (uint32_t threads : {0u, 1u, 2u, 7u, 64u}) {
    CountingPool pool;
    hostnpu::BackendCustomConfig config{{}, threads, &pool, threads == 0 ? nullptr : CountingPool::run};
    std::memcpy(config.magic, hostnpu::kCustomConfigMagic, sizeof config.magic);
    Session session(&config);
    TestGraph graph(session, "g");
    build_chain(graph, 128, 96, 320);
    ASSERT_EQ(graph.finalize(), 0u);
    ASSERT_EQ(graph.execute(), 0u);
    results.push_back(graph.tensors.back().data);
    if (threads >= 2) {
      EXPECT_GT(pool.regions, 2u);
      EXPECT_GT(pool.tasks, threads);
    }
    EXPECT_EQ(results.back(), results.front()) << threads;
  }
}

}  // namespace
}  // namespace lutra::test
