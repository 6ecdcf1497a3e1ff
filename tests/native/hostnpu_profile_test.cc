// Profiles, logs and error texts of the host NPU.
#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

/// A profile with short ways to what it holds.
class TestProfile {
 public:
  TestProfile(const Session& session, uint32_t level) { EXPECT_EQ(slot<abi::ProfileCreateFn>(Slot::kProfileCreate)(session.backend, level, &handle), 0u); }
  ~TestProfile() { EXPECT_EQ(slot<abi::ProfileFreeFn>(Slot::kProfileFree)(handle), 0u); }
  TestProfile(const TestProfile&) = delete;
  TestProfile& operator=(const TestProfile&) = delete;

  std::vector<uint64_t> events() const {
    const uint64_t* ids = nullptr;
    uint32_t count = 7;
    EXPECT_EQ(slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(handle, &ids, &count), 0u);
    return {ids, ids + count};
  }
  static std::vector<uint64_t> parts(uint64_t id) {
    const uint64_t* ids = nullptr;
    uint32_t count = 7;
    EXPECT_EQ(slot<abi::ProfileGetSubEventsFn>(Slot::kProfileGetSubEvents)(id, &ids, &count), 0u);
    return {ids, ids + count};
  }
  /// Of an event; its extended form has to say the same.
  static abi::EventData data(uint64_t id) {
    abi::EventData plain{};
    abi::ExtendedEventData extended{};
    EXPECT_EQ(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, &plain), 0u);
    EXPECT_EQ(slot<abi::ProfileGetExtendedEventDataFn>(Slot::kProfileGetExtendedEventData)(id, &extended), 0u);
    EXPECT_EQ(extended.version, 1);
    EXPECT_EQ(extended.v1.type, plain.type);
    EXPECT_EQ(extended.v1.unit, plain.unit);
    EXPECT_EQ(extended.v1.value.dtype, DataType::kUint64);
    EXPECT_EQ(extended.v1.value.bits, plain.value);
    EXPECT_STREQ(extended.v1.identifier, plain.identifier);
    EXPECT_GT(extended.v1.timestamp, 0u);
    return plain;
  }
  /// The event of that type among the uppermost; 0 when there is none.
  uint64_t find(abi::ProfileEventType type) const {
    for (const uint64_t id : events()) {
      if (data(id).type == static_cast<uint32_t>(type)) return id;
    }
    return 0;
  }
  Status configure(abi::ProfileOption option, uint64_t value) const {
    abi::ProfileConfig config{};
    config.option = option;
    config.value = value;
    const abi::ProfileConfig* list[] = {&config, nullptr};
    return slot<abi::ProfileSetConfigFn>(Slot::kProfileSetConfig)(handle, list);
  }

  abi::ProfileHandle handle{};
};

TEST(HostNpuProfile, TimesOfGraphsAndNodes) {
  Session session;
  for (const uint32_t level : {1u, 2u}) {
    TestGraph graph(session, level == 1 ? "basic" : "detailed");
    build_chain(graph, 128, 512, 512);
    TestProfile profile(session, level);
    EXPECT_TRUE(profile.events().empty());
    ASSERT_EQ(graph.finalize(profile.handle), 0u);
    ASSERT_EQ(profile.events().size(), 1u);
    const uint64_t finalize = profile.find(abi::ProfileEventType::kFinalize);
    EXPECT_STREQ(profile.data(finalize).identifier, level == 1 ? "basic" : "detailed");
    EXPECT_EQ(profile.parts(finalize).size(), level == 1 ? 0u : 4u);
    ASSERT_EQ(graph.execute(profile.handle), 0u);
    ASSERT_EQ(profile.events().size(), 3u);
    const abi::EventData threads = profile.data(profile.find(abi::ProfileEventType::kHtpHvxThreads));
    EXPECT_EQ(threads.unit, abi::ProfileUnit::kCount);
    EXPECT_GT(threads.value, 0u);
    const uint64_t call = profile.find(abi::ProfileEventType::kExecute), accelerator = profile.find(abi::ProfileEventType::kHtpExecuteAccelUs);
    const abi::EventData total = profile.data(call), computing = profile.data(accelerator);
    EXPECT_STREQ(total.identifier, level == 1 ? "basic" : "detailed");
    EXPECT_EQ(total.unit, abi::ProfileUnit::kMicroseconds);
    EXPECT_EQ(computing.unit, abi::ProfileUnit::kMicroseconds);
    EXPECT_GT(computing.value, 0u);
    EXPECT_GE(total.value, computing.value);
    const auto nodes = profile.parts(accelerator);
    EXPECT_EQ(nodes.size(), level == 1 ? 0u : 4u);
    EXPECT_EQ(profile.parts(call).size(), level == 1 ? 0u : 1u);
    uint64_t sum = 0;
    bool linear = false;
    for (const uint64_t id : nodes) {
      const abi::EventData node = profile.data(id);
      EXPECT_EQ(node.type, static_cast<uint32_t>(abi::ProfileEventType::kNode));
      EXPECT_TRUE(profile.parts(id).empty());
      linear = linear || std::string(node.identifier).find("FullyConnected") == 0;
      sum += node.value;
    }
    EXPECT_EQ(linear, level == 2);
    EXPECT_LE(sum, computing.value + 4);
  }
}

TEST(HostNpuProfile, EventsEndWithTheirProfile) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph);
  uint64_t id = 0;
  {
    TestProfile profile(session, 2);
    ASSERT_EQ(graph.finalize(profile.handle), 0u);
    id = profile.events()[0];
    abi::EventData event{};
    for (const uint64_t none : {id + 5, id + 4000, id ^ (uint64_t{1} << 40)}) EXPECT_NE(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(none, &event), 0u);
    EXPECT_NE(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, nullptr), 0u);
    EXPECT_NE(slot<abi::ProfileGetExtendedEventDataFn>(Slot::kProfileGetExtendedEventData)(id, nullptr), 0u);
  }
  abi::EventData event{};
  EXPECT_NE(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, &event), 0u);
}

TEST(HostNpuProfile, Contexts) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph);
  ASSERT_EQ(graph.finalize(), 0u);
  const auto bytes = binary_of(session);
  TestProfile profile(session, 1);
  abi::ContextHandle loaded{};
  ASSERT_EQ(slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(session.backend, session.device, nullptr, bytes.data(), bytes.size(), &loaded, profile.handle), 0u);
  EXPECT_GT(profile.data(profile.find(abi::ProfileEventType::kInit)).value, 0u);
  ASSERT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, profile.handle), 0u);
  EXPECT_NE(profile.find(abi::ProfileEventType::kDeinit), 0u);
}

TEST(HostNpuProfile, Settings) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph);
  TestProfile profile(session, 2);
  ASSERT_EQ(graph.finalize(), 0u);
  for (const uint64_t most : {1, 2, 3, 5, 100}) {
    ASSERT_EQ(profile.configure(abi::ProfileOption::kMaxEvents, most), 0u);
    ASSERT_EQ(graph.execute(profile.handle), 0u);
    size_t count = 0;
    std::vector<uint64_t> open = profile.events();
    while (!open.empty()) {
      const uint64_t id = open.back();
      open.pop_back();
      profile.data(id);
      ++count;
      for (const uint64_t part : profile.parts(id)) open.push_back(part);
    }
    EXPECT_EQ(count, std::min<uint64_t>(most, 3 + 4 + 1)) << most;
  }
  EXPECT_EQ(profile.configure(abi::ProfileOption::kMaxEvents, 0), abi::kInvalidArgument);
  EXPECT_EQ(profile.configure(abi::ProfileOption::kEnableOptrace, 1), abi::kNotSupported);
  EXPECT_EQ(profile.configure(abi::ProfileOption::kEnableOptrace, 0), 0u);
  EXPECT_EQ(profile.configure(static_cast<abi::ProfileOption>(77), 1), 0u);
}

TEST(HostNpuProfile, BoundToAGraph) {
  Session session;
  TestGraph graph(session, "g"), other(session, "h");
  build_chain(graph);
  build_chain(other);
  const auto configure = [](const TestGraph& which, abi::GraphOption option, uint64_t value) {
    abi::GraphConfig config{};
    config.option = option;
    config.value = value;
    const abi::GraphConfig* list[] = {&config, nullptr};
    return slot<abi::GraphSetConfigFn>(Slot::kGraphSetConfig)(which.handle, list);
  };
  const auto bind = [&](const TestGraph& which, abi::ProfileHandle profile) { return configure(which, abi::GraphOption::kProfileHandle, reinterpret_cast<uintptr_t>(profile)); };
  TestProfile free_one(session, 1);
  abi::ProfileHandle bound{};
  ASSERT_EQ(slot<abi::ProfileCreateFn>(Slot::kProfileCreate)(session.backend, 1, &bound), 0u);
  const auto events = [&] {
    const uint64_t* ids = nullptr;
    uint32_t count = 0;
    EXPECT_EQ(slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(bound, &ids, &count), 0u);
    return count == 0 ? 0u : TestProfile::data(ids[count - 1]).type;
  };
  EXPECT_EQ(bind(graph, reinterpret_cast<abi::ProfileHandle>(session.context)), abi::kGraphInvalidArgument);
  ASSERT_EQ(bind(graph, bound), 0u);
  EXPECT_EQ(bind(graph, bound), 0u);
  EXPECT_EQ(bind(other, bound), abi::kGraphProfileInUse);
  EXPECT_EQ(slot<abi::ProfileFreeFn>(Slot::kProfileFree)(bound), abi::kProfileInUse);
  EXPECT_EQ(graph.finalize(free_one.handle), abi::kGraphInvalidArgument);  // not both
  ASSERT_EQ(graph.finalize(), 0u);
  EXPECT_EQ(events(), 300u);
  // Off, on, and for so many executions.
  ASSERT_EQ(configure(graph, abi::GraphOption::kProfilingState, 2), 0u);
  ASSERT_EQ(graph.execute(), 0u);
  EXPECT_EQ(events(), 300u);
  EXPECT_EQ(configure(graph, abi::GraphOption::kProfilingState, 3), abi::kGraphInvalidArgument);
  ASSERT_EQ(configure(graph, abi::GraphOption::kProfilingState, 1), 0u);
  ASSERT_EQ(configure(graph, abi::GraphOption::kNumProfilingExecutions, 1), 0u);
  ASSERT_EQ(graph.execute(), 0u);
  EXPECT_EQ(events(), 400u);
  EXPECT_EQ(graph.execute(free_one.handle), abi::kGraphInvalidArgument);
  // Another profile in its place, which sets this one free.
  ASSERT_EQ(bind(graph, free_one.handle), 0u);
  ASSERT_EQ(graph.execute(), 0u);
  EXPECT_TRUE(free_one.events().empty());  // the number of executions is used up
  ASSERT_EQ(configure(graph, abi::GraphOption::kNumProfilingExecutions, 5), 0u);
  ASSERT_EQ(graph.execute(), 0u);
  EXPECT_EQ(free_one.events().size(), 3u);
  EXPECT_EQ(bind(other, bound), 0u);
  // A profile may be bound when a graph is made, and its graph's end sets it free.
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(std::exchange(session.context, nullptr), nullptr), 0u);
  EXPECT_EQ(slot<abi::ProfileFreeFn>(Slot::kProfileFree)(bound), 0u);
}

TEST(HostNpuLog, LevelsAndFreedLogs) {
  Session session;
  abi::OpConfig op{1, "n", "qti.aisw", "Nothing", 0, nullptr, 0, nullptr, 0, nullptr};
  const auto validate = slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig);
  Session::lines().clear();
  EXPECT_NE(validate(session.backend, op), 0u);
  EXPECT_EQ(Session::lines().size(), 1u);
  EXPECT_EQ(slot<abi::LogSetLogLevelFn>(Slot::kLogSetLogLevel)(session.log, 0), 0u);
  EXPECT_NE(validate(session.backend, op), 0u);
  EXPECT_EQ(Session::lines().size(), 1u);
}

TEST(HostNpuErrors, VerboseMessagesSayWhy) {
  Session session;
  abi::OpConfig op{1, "n", "qti.aisw", "Nothing", 0, nullptr, 0, nullptr, 0, nullptr};
  const auto verbose = slot<abi::ErrorGetMessageFn>(Slot::kErrorGetVerboseMessage);
  const auto free = slot<abi::ErrorFreeVerboseMessageFn>(Slot::kErrorFreeVerboseMessage);
  const Status refused = slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig)(session.backend, op);
  ASSERT_NE(refused, 0u);
  const char *first = nullptr, *second = nullptr, *other = nullptr, *none = nullptr;
  ASSERT_EQ(verbose(refused, &first), 0u);
  ASSERT_EQ(verbose(refused, &second), 0u);
  EXPECT_NE(std::string(first).find("there is no op Nothing"), std::string::npos) << first;
  EXPECT_STREQ(first, second);
  // The reason is that of the last failure, which had another code.
  ASSERT_EQ(verbose(abi::kGraphFinalized, &other), 0u);
  EXPECT_EQ(std::string(other).find("Nothing"), std::string::npos) << other;
  EXPECT_EQ(verbose(54321, &none), abi::kErrorInvalidHandle);
  EXPECT_EQ(none, nullptr);
  EXPECT_EQ(verbose(refused, nullptr), abi::kErrorInvalidArgument);
  for (const char* text : {first, second, other}) EXPECT_EQ(free(text), 0u);
  EXPECT_EQ(free(first), abi::kErrorInvalidHandle);
  EXPECT_EQ(free("not from the library"), abi::kErrorInvalidHandle);
  EXPECT_EQ(slot<abi::ErrorGetMessageFn>(Slot::kErrorGetMessage)(54321, &none), abi::kErrorInvalidHandle);
}

}  // namespace
}  // namespace lutra::test
