// Context binaries of the host NPU and what the system interface says about them.
#include <random>

#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

// The format's checksum, written down a second time so that damage behind a right checksum can be tested.
void fix_checksum(std::vector<std::byte>& bytes) {
  const std::byte* data = bytes.data() + 64;
  const size_t size = bytes.size() - 64;
  uint64_t lanes[4] = {0x243F6A8885A308D3u, 0x13198A2E03707344u, 0xA4093822299F31D0u, size};
  const auto mix = [](uint64_t& lane, uint64_t word) {
    lane = (lane ^ word) * 0x9FB21C651E98DF25u;
    lane ^= lane >> 29;
  };
  size_t i = 0;
  for (; i + 32 <= size; i += 32) {
    for (size_t k = 0; k < 4; ++k) {
      uint64_t word;
      std::memcpy(&word, data + i + 8 * k, 8);
      mix(lanes[k], word);
    }
  }
  for (; i < size; ++i) mix(lanes[0], static_cast<uint64_t>(data[i]) + 1);
  for (int k = 1; k < 4; ++k) mix(lanes[0], lanes[k]);
  std::memcpy(bytes.data() + 24, &lanes[0], 8);
}

TEST(HostNpuBinary, RoundTrip) {
  Session session;
  TestGraph a(session, "a"), b(session, "b");
  build_chain(a);
  build_chain(b, 3, 33, 17);
  ASSERT_EQ(a.finalize(), 0u);
  ASSERT_EQ(b.finalize(), 0u);
  const auto bytes = binary_of(session);
  Session other;
  abi::ContextHandle loaded{};
  ASSERT_EQ(load(other, bytes, &loaded), 0u) << Session::lines().back();
  for (TestGraph* graph : {&a, &b}) {
    ASSERT_EQ(graph->execute(), 0u);
    const auto wanted = graph->tensors.back().data;
    abi::GraphHandle handle{};
    ASSERT_EQ(slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(loaded, graph == &a ? "a" : "b", &handle), 0u);
    ASSERT_EQ(graph->execute_as(handle), 0u);
    EXPECT_EQ(graph->tensors.back().data, wanted);
  }
  // A loaded context writes the same binary.
  uint64_t size = 0, written = 0;
  ASSERT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(loaded, &size), 0u);
  std::vector<std::byte> again(size + 100);
  ASSERT_EQ(slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(loaded, again.data(), again.size(), &written), 0u);
  again.resize(written);
  EXPECT_EQ(again, bytes);
  EXPECT_NE(slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(loaded, again.data(), size - 1, &written), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
}

TEST(HostNpuBinary, OnlyTheGraphsThatAreEnabled) {
  Session session;
  TestGraph a(session, "a"), b(session, "b");
  build_chain(a);
  build_chain(b);
  ASSERT_EQ(a.finalize(), 0u);
  ASSERT_EQ(b.finalize(), 0u);
  const auto bytes = binary_of(session);
  const auto with = [&](std::vector<const char*> names, abi::ContextHandle* out) {
    names.push_back(nullptr);
    abi::ContextConfig config{};
    config.option = abi::ContextOption::kEnableGraphs;
    config.const_pointer = names.data();
    const abi::ContextConfig* list[] = {&config, nullptr};
    return slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(session.backend, session.device, list, bytes.data(), bytes.size(), out, nullptr);
  };
  const auto retrieve = slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve);
  abi::ContextHandle loaded{};
  abi::GraphHandle handle{};
  EXPECT_EQ(with({"b", "c"}, &loaded), abi::kContextInvalidConfig);
  ASSERT_EQ(with({"b"}, &loaded), 0u);
  EXPECT_EQ(retrieve(loaded, "a", &handle), abi::kGraphDisabled);
  EXPECT_EQ(retrieve(loaded, "c", &handle), abi::kGraphInvalidName);
  ASSERT_EQ(retrieve(loaded, "b", &handle), 0u);
  EXPECT_EQ(b.execute_as(handle), 0u);
  uint64_t size = 0;
  EXPECT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(loaded, &size), 0u);
  EXPECT_LT(size, bytes.size());
  EXPECT_EQ(slot<abi::ContextFinalizeFn>(Slot::kContextFinalize)(loaded, nullptr), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
}

struct Notified {
  std::vector<std::string> graphs;
  std::vector<abi::GraphHandle> handles;
  abi::ContextHandle context{};
  int contexts = 0;
  Status status = 99;
  static void notify(abi::ContextHandle context, abi::GraphHandle graph, const char* name, abi::ContextNotifyType type, void* parameter, Status status) {
    auto& seen = *static_cast<Notified*>(parameter);
    if (type == abi::ContextNotifyType::kGraph) {
      seen.graphs.emplace_back(name);
      seen.handles.push_back(graph);
      return;
    }
    seen.context = context;
    seen.status = status;
    ++seen.contexts;
  }
};

TEST(HostNpuBinary, Lists) {
  Session session;
  TestGraph a(session, "a"), b(session, "b");
  build_chain(a);
  build_chain(b);
  ASSERT_EQ(a.finalize(), 0u);
  ASSERT_EQ(b.finalize(), 0u);
  ASSERT_EQ(a.execute(), 0u);
  const auto wanted = a.tensors.back().data;
  const auto bytes = binary_of(session);
  auto damaged = bytes;
  damaged[damaged.size() / 2] ^= std::byte{1};
  const auto call = slot<abi::ContextCreateFromBinaryListAsyncFn>(Slot::kContextCreateFromBinaryListAsync);
  Notified seen[3];
  abi::ContextParams params[3];
  for (int i = 0; i < 3; ++i) params[i] = {1, nullptr, i == 1 ? damaged.data() : bytes.data(), bytes.size(), nullptr, Notified::notify, &seen[i]};
  const abi::ContextParams* list[] = {&params[0], &params[1], &params[2], nullptr};
  // One of three is damaged: it is told so, and the others are there.
  EXPECT_EQ(call(session.backend, session.device, list, nullptr, nullptr), abi::kContextCreateFromBinary);
  EXPECT_EQ(seen[1].status, abi::kContextCreateFromBinary);
  EXPECT_EQ(seen[1].context, nullptr);
  EXPECT_TRUE(seen[1].graphs.empty());
  for (const int i : {0, 2}) {
    EXPECT_EQ(seen[i].status, 0u);
    EXPECT_EQ(seen[i].contexts, 1);
    EXPECT_EQ(seen[i].graphs, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(a.execute_as(seen[i].handles[0]), 0u);
    EXPECT_EQ(a.tensors.back().data, wanted);
    EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(seen[i].context, nullptr), 0u);
  }
  list[1] = nullptr;
  params[0].version = 2;
  EXPECT_EQ(call(session.backend, session.device, list, nullptr, nullptr), abi::kNotSupported);
  params[0].version = 1;
  params[0].notify = nullptr;
  EXPECT_EQ(call(session.backend, session.device, list, nullptr, nullptr), abi::kContextInvalidArgument);
  EXPECT_EQ(call(session.backend, session.device, nullptr, nullptr, nullptr), abi::kContextInvalidArgument);
  EXPECT_EQ(call(session.backend, session.device, list + 1, nullptr, nullptr), abi::kContextInvalidArgument);
  EXPECT_EQ(call(nullptr, session.device, list, nullptr, nullptr), abi::kBackendInvalidHandle);
  // A client that would hand out the binary piece by piece is not asked to.
  abi::ContextHandle loaded{};
  const auto with_callback = slot<abi::ContextCreateFromBinaryWithCallbackFn>(Slot::kContextCreateFromBinaryWithCallback);
  ASSERT_EQ(with_callback(session.backend, session.device, nullptr, &seen, bytes.data(), bytes.size(), &loaded, nullptr, nullptr), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
}

TEST(HostNpuBinary, DamageIsFound) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph);
  ASSERT_EQ(graph.finalize(), 0u);
  const auto good = binary_of(session);
  abi::ContextHandle loaded{};
  for (size_t size : {size_t{1}, size_t{8}, size_t{63}, size_t{64}, size_t{100}, good.size() / 2, good.size() - 1}) {
    EXPECT_EQ(load(session, {good.begin(), good.begin() + static_cast<ptrdiff_t>(size)}, &loaded), abi::kContextCreateFromBinary) << size;
  }
  for (size_t at = 0; at < good.size(); at += 97) {
    auto bad = good;
    bad[at] ^= std::byte{0x10};
    if (at >= 32 && at < 64) continue;  // the unused rest of the header
    EXPECT_NE(load(session, bad, &loaded), 0u) << at;
  }
  auto newer = good;
  newer[8] = std::byte{2};
  EXPECT_EQ(load(session, newer, &loaded), abi::kContextBinaryVersion);
  EXPECT_EQ(load(session, std::vector<std::byte>(5000, std::byte{0x7f}), &loaded), abi::kContextCreateFromBinary);
  EXPECT_EQ(slot<abi::ContextValidateBinaryFn>(Slot::kContextValidateBinary)(session.backend, nullptr, nullptr, good.data(), good.size()), 0u);
}

// Damage behind a right checksum, as a hostile file would have: refused or harmless, never a crash (the sanitizer run is what tells).
TEST(HostNpuBinary, HostileContents) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph, 3, 12, 10);
  ASSERT_EQ(graph.finalize(), 0u);
  const auto good = binary_of(session);
  std::mt19937 random(3);
  size_t refused = 0;
  for (int round = 0; round < 3000; ++round) {
    auto bad = good;
    const uint32_t changes = 1 + random() % 3;
    for (uint32_t i = 0; i < changes; ++i) {
      const size_t at = 64 + random() % (bad.size() - 64);
      bad[at] = random() % 3 == 0 ? std::byte{0xff} : static_cast<std::byte>(random());
    }
    fix_checksum(bad);
    abi::ContextHandle loaded{};
    if (load(session, bad, &loaded) != 0) {
      ++refused;
      continue;
    }
    abi::GraphHandle handle{};
    if (slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(loaded, "g", &handle) == 0) graph.execute_as(handle);
    EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
  }
  EXPECT_GT(refused, 500u);
  EXPECT_LT(refused, 3000u);  // the checksum was right
}

TEST(HostNpuBinary, NulInsideANameIsDamage) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph, 3, 12, 10);
  ASSERT_EQ(graph.finalize(), 0u);
  auto bad = binary_of(session);
  const std::array name = {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{'g'}};
  const auto at = std::search(bad.begin() + 64, bad.end(), name.begin(), name.end());
  ASSERT_NE(at, bad.end());
  *(at + 4) = std::byte{0};
  fix_checksum(bad);
  abi::ContextHandle loaded{};
  EXPECT_EQ(load(session, bad, &loaded), abi::kContextCreateFromBinary);
}

TEST(HostNpuBinary, SystemInterfaceDescribesIt) {
  Session session;
  TestGraph graph(session, "chain");
  build_chain(graph);
  ASSERT_EQ(graph.finalize(), 0u);
  auto bytes = binary_of(session);
  const auto system = system_host();
  const auto call = [&system](abi::SystemSlot which) { return system.table[static_cast<size_t>(which)]; };
  abi::SystemContextHandle context{};
  ASSERT_EQ(reinterpret_cast<abi::SystemContextCreateFn>(call(abi::SystemSlot::kContextCreate))(&context), 0u);
  const abi::BinaryInfo* info = nullptr;
  ASSERT_EQ(reinterpret_cast<abi::SystemContextGetMetaDataFn>(call(abi::SystemSlot::kContextGetMetaData))(context, bytes.data(), bytes.size(), &info), 0u);
  ASSERT_EQ(info->version, 1);
  ASSERT_EQ(info->v1.graph_count, 1u);
  const abi::GraphInfoV1& g = info->v1.graphs[0].v1;
  EXPECT_STREQ(g.name, "chain");
  ASSERT_EQ(g.input_count, 1u);
  ASSERT_EQ(g.output_count, 1u);
  EXPECT_STREQ(g.inputs[0].v1.name, "x");
  EXPECT_EQ(g.inputs[0].v1.id, graph.tensors.front().qnn.v1.id);
  EXPECT_EQ(g.inputs[0].v1.dtype, kF16);
  ASSERT_EQ(g.inputs[0].v1.rank, 2u);
  EXPECT_EQ(g.inputs[0].v1.dims[1], 40u);
  EXPECT_STREQ(g.outputs[0].v1.name, "y");
  uint64_t info_size = 0;
  EXPECT_EQ(reinterpret_cast<abi::SystemContextGetBinaryInfoFn>(call(abi::SystemSlot::kContextGetBinaryInfo))(context, bytes.data(), bytes.size(), &info, &info_size), 0u);
  EXPECT_GT(info_size, 0u);
  bytes.resize(bytes.size() - 5);
  EXPECT_EQ(reinterpret_cast<abi::SystemContextGetMetaDataFn>(call(abi::SystemSlot::kContextGetMetaData))(context, bytes.data(), bytes.size(), &info), abi::kSystemMalformedBinary);
  const auto free_context = reinterpret_cast<abi::SystemContextFreeFn>(call(abi::SystemSlot::kContextFree));
  EXPECT_EQ(free_context(context), 0u);
  EXPECT_EQ(free_context(context), abi::kSystemInvalidHandle);
  uint64_t footprint = 0;
  const auto memory_footprint = reinterpret_cast<abi::SystemTensorGetMemoryFootprintFn>(call(abi::SystemSlot::kTensorGetMemoryFootprint));
  EXPECT_EQ(memory_footprint(graph.tensors.front().qnn, &footprint), 0u);
  EXPECT_EQ(footprint, graph.tensors.front().bytes());
  EXPECT_NE(memory_footprint(abi::Tensor{}, &footprint), 0u);
  abi::LogHandle log{};
  EXPECT_EQ(reinterpret_cast<abi::LogCreateFn>(call(abi::SystemSlot::kLogCreate))(Session::on_log, 1, &log), 0u);
  EXPECT_EQ(reinterpret_cast<abi::LogSetLogLevelFn>(call(abi::SystemSlot::kLogSetLogLevel))(log, 2), 0u);
  EXPECT_EQ(reinterpret_cast<abi::LogFreeFn>(call(abi::SystemSlot::kLogFree))(log), 0u);
}

}  // namespace
}  // namespace lutra::test
