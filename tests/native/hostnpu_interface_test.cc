// The host NPU as a library: what it exports, handles that are not valid, calls out of order, tensors and nodes that cannot be.
#include "hostnpu_chain.h"

namespace lutra::test {
namespace {

TEST(HostNpuInterface, Provider) {
  const Interface& interface = host();
  EXPECT_EQ(interface.backend_id, abi::BackendId::kHtp);
  EXPECT_STREQ(interface.provider_name, "LUTRA_HOST");
  EXPECT_EQ(interface.core.major, 2u);
  EXPECT_GE(interface.core.minor, 40u);
  // Not every client looks for NULL, so what is not supported says so.
  for (uint32_t i = 0; i <= 68; ++i) EXPECT_NE(interface.table[i], nullptr) << i;
  // Clients of later releases copy the table further than the interface reached when this was written.
  for (size_t i = 69; i < abi::kSlotsOfNewestClients; ++i) EXPECT_EQ(interface.table[i], nullptr) << i;
  const char* build = nullptr;
  EXPECT_EQ(slot<abi::BackendGetBuildIdFn>(Slot::kBackendGetBuildId)(&build), 0u);
  EXPECT_STRNE(build, "");
  abi::ApiVersion version{};
  EXPECT_EQ(slot<abi::BackendGetApiVersionFn>(Slot::kBackendGetApiVersion)(&version), 0u);
  EXPECT_EQ(version.core.minor, interface.core.minor);
}

TEST(HostNpuInterface, Properties) {
  const auto has = slot<abi::PropertyHasCapabilityFn>(Slot::kPropertyHasCapability);
  uint32_t known = 0;
  for (uint32_t key = 0; key < 3000; ++key) {
    const Status status = has(key);
    EXPECT_TRUE(status == 0 || status == abi::kNotSupported || status == abi::kPropertyUnknownKey) << key;
    known += status != abi::kPropertyUnknownKey;
  }
  EXPECT_GT(known, 80u);
  // What the other tests show to work.
  for (uint32_t key : {202, 205, 206, 210, 211, 212, 302, 304, 305, 307, 308, 309, 310, 311, 315, 316, 322, 502, 503, 1002, 1102, 1103, 1104, 1202, 1203, 1403, 1404, 1501}) EXPECT_EQ(has(key), 0u) << key;
  // Groups that every library has are no keys.
  for (uint32_t key : {101, 201, 301, 501, 123456}) EXPECT_EQ(has(key), abi::kPropertyUnknownKey) << key;
}

TEST(HostNpuInterface, WhatIsNotSupportedSaysSo) {
  Session session;
  TestGraph graph(session, "g");
  const auto has = slot<abi::PropertyHasCapabilityFn>(Slot::kPropertyHasCapability);
  abi::GraphHandle subgraph{};
  EXPECT_EQ(has(314), abi::kNotSupported);
  EXPECT_EQ(slot<Status (*)(abi::GraphHandle, const char*, abi::GraphHandle*)>(Slot::kGraphCreateSubgraph)(graph.handle, "s", &subgraph), abi::kNotSupported);
  EXPECT_EQ(has(506), abi::kNotSupported);
  EXPECT_EQ(slot<Status (*)(abi::GraphHandle, const abi::Tensor**, uint64_t)>(Slot::kTensorUpdateGraphTensors)(graph.handle, nullptr, 0), abi::kNotSupported);
  EXPECT_EQ(has(216), abi::kNotSupported);
  EXPECT_EQ(slot<Status (*)(abi::ContextHandle, const void*, uint64_t)>(Slot::kContextReleaseIncrementalBinary)(session.context, nullptr, 0), abi::kNotSupported);
  // Custom properties are another backend's; no properties are an empty list.
  uint64_t custom[2] = {2, 77};
  abi::Property property{};
  property.pointer = custom;
  abi::Property *list[] = {&property, nullptr}, *empty[] = {nullptr};
  EXPECT_EQ(slot<abi::ContextGetPropertyFn>(Slot::kContextGetProperty)(session.context, list), abi::kNotSupported);
  EXPECT_EQ(slot<abi::ContextGetPropertyFn>(Slot::kContextGetProperty)(session.context, empty), 0u);
  EXPECT_EQ(slot<abi::ContextGetPropertyFn>(Slot::kContextGetProperty)(session.context, nullptr), abi::kContextInvalidArgument);
  EXPECT_EQ(slot<abi::GraphGetPropertyFn>(Slot::kGraphGetProperty)(graph.handle, list), abi::kNotSupported);
  EXPECT_EQ(slot<abi::BackendGetPropertyFn>(Slot::kBackendGetProperty)(session.backend, list), abi::kNotSupported);
  EXPECT_EQ(custom[1], 77u);
}

TEST(HostNpuInterface, ExecutionEnvironments) {
  Session session;
  TestGraph graph(session, "g");
  abi::ExecutionEnvironment bind{abi::EnvironmentOption::kBindMemHandles}, populate{abi::EnvironmentOption::kPopulateClientBuffers};
  const abi::ExecutionEnvironment *binding[] = {&bind}, *populating[] = {&populate}, *none[] = {nullptr};
  for (const Slot which : {Slot::kGraphPrepareExecutionEnvironment, Slot::kGraphReleaseExecutionEnvironment}) {
    const auto call = slot<abi::GraphExecutionEnvironmentFn>(which);
    EXPECT_EQ(call(graph.handle, nullptr, 0), 0u);
    EXPECT_EQ(call(graph.handle, binding, 1), 0u);
    EXPECT_EQ(call(graph.handle, populating, 1), abi::kNotSupported);
    EXPECT_EQ(call(graph.handle, none, 1), abi::kGraphInvalidArgument);
    EXPECT_EQ(call(graph.handle, nullptr, 1), abi::kGraphInvalidArgument);
    EXPECT_EQ(call(nullptr, binding, 1), abi::kGraphInvalidHandle);
  }
}

TEST(HostNpuInterface, SupportedOperations) {
  Session session;
  uint32_t count = 0;
  const abi::OperationName* names = nullptr;
  ASSERT_EQ(slot<abi::BackendGetSupportedOperationsFn>(Slot::kBackendGetSupportedOperations)(session.backend, &count, &names), 0u);
  std::vector<std::string> found;
  for (uint32_t i = 0; i < count; ++i) {
    EXPECT_STREQ(names[i].package, "qti.aisw");
    found.push_back(names[i].name);
  }
  for (const char* wanted : {"Quantize", "Dequantize", "Convert", "FullyConnected", "Conv2d", "RmsNorm", "ElementWiseAdd", "ElementWiseMultiply", "Sigmoid", "Relu", "Reshape", "Gather"}) {
    EXPECT_NE(std::find(found.begin(), found.end(), wanted), found.end()) << wanted;
  }
}

TEST(HostNpuInterface, UnknownConfigsAreIgnored) {
  struct Foreign {
    uint32_t option = 7;
    uint32_t rest[15] = {};
  } foreign;
  abi::AnyConfig config{};
  config.option = 0;
  config.pointer = &foreign;
  const abi::AnyConfig* list[] = {&config, nullptr};
  const abi::AnyConfig* empty[] = {nullptr};
  abi::BackendHandle backend{};
  EXPECT_EQ(slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, reinterpret_cast<const abi::BackendConfig**>(list), &backend), 0u);
  abi::DeviceHandle device{};
  EXPECT_EQ(slot<abi::DeviceCreateFn>(Slot::kDeviceCreate)(nullptr, reinterpret_cast<const abi::DeviceConfig**>(list), &device), 0u);
  abi::ContextHandle context{};
  EXPECT_EQ(slot<abi::ContextCreateFn>(Slot::kContextCreate)(backend, device, reinterpret_cast<const abi::ContextConfig**>(list), &context), 0u);
  abi::GraphHandle graph{};
  EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(context, "g", reinterpret_cast<const abi::GraphConfig**>(list), &graph), 0u);
  EXPECT_EQ(slot<abi::GraphSetConfigFn>(Slot::kGraphSetConfig)(graph, reinterpret_cast<const abi::GraphConfig**>(empty)), 0u);
  const abi::HtpInfrastructure* infrastructure = nullptr;
  EXPECT_EQ(slot<abi::DeviceGetInfrastructureFn>(Slot::kDeviceGetInfrastructure)(&infrastructure), 0u);
  EXPECT_NE(infrastructure, nullptr);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr), 0u);
  EXPECT_EQ(slot<abi::DeviceFreeFn>(Slot::kDeviceFree)(device), 0u);
  EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend), 0u);
}

TEST(HostNpuInterface, HandlesThatAreNone) {
  alignas(16) int not_ours = 0;
  for (const uintptr_t value : {uintptr_t{0}, uintptr_t{1}, uintptr_t{0x7fffffff0}, reinterpret_cast<uintptr_t>(&not_ours), ~uintptr_t{0}}) {
    SCOPED_TRACE(value);
    const auto backend = reinterpret_cast<abi::BackendHandle>(value);
    const auto context = reinterpret_cast<abi::ContextHandle>(value);
    const auto graph = reinterpret_cast<abi::GraphHandle>(value);
    const auto profile = reinterpret_cast<abi::ProfileHandle>(value);
    abi::ContextHandle made{};
    abi::GraphHandle made_graph{};
    uint64_t size = 0;
    abi::Tensor tensor{};
    abi::OpConfig op{};
    const uint64_t* ids = nullptr;
    uint32_t count = 0;
    abi::EventData event{};
    EXPECT_EQ(slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig)(backend, op), abi::kBackendInvalidHandle);
    EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend), abi::kBackendInvalidHandle);
    EXPECT_EQ(slot<abi::ContextCreateFn>(Slot::kContextCreate)(backend, nullptr, nullptr, &made), abi::kBackendInvalidHandle);
    EXPECT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(context, &size), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(context, &size, 8, &size), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(context, "g", nullptr, &made_graph), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(context, "g", &made_graph), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::TensorCreateContextTensorFn>(Slot::kTensorCreateContextTensor)(context, &tensor), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::TensorCreateGraphTensorFn>(Slot::kTensorCreateGraphTensor)(graph, &tensor), abi::kGraphInvalidHandle);
    EXPECT_EQ(slot<abi::GraphAddNodeFn>(Slot::kGraphAddNode)(graph, op), abi::kGraphInvalidHandle);
    EXPECT_EQ(slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(graph, nullptr, nullptr), abi::kGraphInvalidHandle);
    EXPECT_EQ(slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(graph, nullptr, 0, nullptr, 0, nullptr, nullptr), abi::kGraphInvalidHandle);
    EXPECT_NE(slot<abi::LogFreeFn>(Slot::kLogFree)(reinterpret_cast<abi::LogHandle>(value)), 0u);
    EXPECT_NE(slot<abi::ProfileFreeFn>(Slot::kProfileFree)(profile), 0u);
    EXPECT_NE(slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(profile, &ids, &count), 0u);
    EXPECT_NE(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(value, &event), 0u);
    EXPECT_NE(slot<abi::ProfileGetSubEventsFn>(Slot::kProfileGetSubEvents)(value, &ids, &count), 0u);
    EXPECT_EQ(slot<abi::DeviceFreeFn>(Slot::kDeviceFree)(reinterpret_cast<abi::DeviceHandle>(value)), abi::kDeviceInvalidHandle);
    const auto signal = reinterpret_cast<abi::SignalHandle>(value);
    auto memory = reinterpret_cast<abi::MemHandle>(value);
    abi::MemDescriptor descriptor{};
    abi::ExtendedEventData extended{};
    EXPECT_EQ(slot<abi::GraphExecuteAsyncFn>(Slot::kGraphExecuteAsync)(graph, nullptr, 0, nullptr, 0, nullptr, nullptr, nullptr, nullptr), abi::kGraphInvalidHandle);
    EXPECT_EQ(slot<abi::GraphSetConfigFn>(Slot::kGraphSetConfig)(graph, nullptr), abi::kGraphInvalidHandle);
    EXPECT_EQ(slot<abi::ContextFinalizeFn>(Slot::kContextFinalize)(context, nullptr), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::MemRegisterFn>(Slot::kMemRegister)(context, &descriptor, 1, &memory), abi::kContextInvalidHandle);
    EXPECT_EQ(slot<abi::MemDeRegisterFn>(Slot::kMemDeRegister)(&memory, 1), abi::kMemInvalidHandle);
    EXPECT_EQ(slot<abi::SignalSetConfigFn>(Slot::kSignalSetConfig)(signal, nullptr), abi::kSignalInvalidHandle);
    EXPECT_EQ(slot<abi::SignalTriggerFn>(Slot::kSignalTrigger)(signal), abi::kSignalInvalidHandle);
    EXPECT_EQ(slot<abi::SignalFreeFn>(Slot::kSignalFree)(signal), abi::kSignalInvalidHandle);
    EXPECT_EQ(slot<abi::ProfileSetConfigFn>(Slot::kProfileSetConfig)(profile, nullptr), abi::kProfileInvalidHandle);
    EXPECT_NE(slot<abi::ProfileGetExtendedEventDataFn>(Slot::kProfileGetExtendedEventData)(value, &extended), 0u);
    EXPECT_EQ(slot<abi::ErrorFreeVerboseMessageFn>(Slot::kErrorFreeVerboseMessage)(reinterpret_cast<const char*>(value)), abi::kErrorInvalidHandle);
  }
  // Handles of the wrong kind are none either.
  Session session;
  EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(reinterpret_cast<abi::BackendHandle>(session.context)), abi::kBackendInvalidHandle);
  EXPECT_EQ(slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(reinterpret_cast<abi::GraphHandle>(session.context), nullptr, nullptr), abi::kGraphInvalidHandle);
  EXPECT_EQ(slot<abi::SignalTriggerFn>(Slot::kSignalTrigger)(reinterpret_cast<abi::SignalHandle>(session.backend)), abi::kSignalInvalidHandle);
  auto memory = reinterpret_cast<abi::MemHandle>(session.context);
  EXPECT_EQ(slot<abi::MemDeRegisterFn>(Slot::kMemDeRegister)(&memory, 1), abi::kMemInvalidHandle);
}

TEST(HostNpuInterface, NullOutputs) {
  Session session;
  EXPECT_NE(slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, nullptr, nullptr), 0u);
  EXPECT_NE(slot<abi::ContextCreateFn>(Slot::kContextCreate)(session.backend, nullptr, nullptr, nullptr), 0u);
  EXPECT_NE(slot<abi::DeviceCreateFn>(Slot::kDeviceCreate)(nullptr, nullptr, nullptr), 0u);
  EXPECT_NE(slot<abi::LogCreateFn>(Slot::kLogCreate)(nullptr, 1, nullptr), 0u);
  EXPECT_NE(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(session.context, "g", nullptr, nullptr), 0u);
  abi::GraphHandle graph{};
  EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(session.context, nullptr, nullptr, &graph), abi::kGraphInvalidName);
  EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(session.context, "", nullptr, &graph), abi::kGraphInvalidName);
  EXPECT_NE(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(session.context, nullptr), 0u);
  EXPECT_NE(slot<abi::ErrorGetMessageFn>(Slot::kErrorGetMessage)(3110, nullptr), 0u);
  const char* message = nullptr;
  EXPECT_EQ(slot<abi::ErrorGetMessageFn>(Slot::kErrorGetMessage)(3110, &message), 0u);
  EXPECT_NE(message, nullptr);
  EXPECT_NE(slot<abi::BackendGetBuildIdFn>(Slot::kBackendGetBuildId)(nullptr), 0u);
  EXPECT_NE(slot<abi::BackendGetApiVersionFn>(Slot::kBackendGetApiVersion)(nullptr), 0u);
}

TEST(HostNpuInterface, TensorsThatCannotBe) {
  Session session;
  TestGraph graph(session, "g");
  Status status = 0;
  graph.add(make("x", kAppWrite, kF16, {2, 4}));
  graph.try_add(make("x", kNative, kF16, {2, 4}), &status);
  EXPECT_EQ(status, abi::kTensorAlreadyExists);
  const auto expect = [&](abi::ErrorCode code, auto change) {
    static int number = 0;
    TestTensor t = make("bad" + std::to_string(number++), kNative, kU8, {2, 4});
    t.fill_struct();
    change(t.qnn);
    EXPECT_EQ(slot<abi::TensorCreateGraphTensorFn>(Slot::kTensorCreateGraphTensor)(graph.handle, &t.qnn), code) << number;
  };
  uint32_t zero[2] = {2, 0}, huge[3] = {70000, 70000, 70000};
  uint8_t dynamic[2] = {0, 1};
  abi::ScaleOffset three[3] = {{1, 0}, {1, 0}, {1, 0}};
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.version = 9; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.name = nullptr; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.rank = 0; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.rank = 1000000; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.dims = nullptr; });
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.dims = zero; });
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.dims = huge, t.v1.rank = 3; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.quantize.scale_offset.scale = std::nanf(""); });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.quantize.scale_offset.scale = -1.0f; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.quantize.scale_offset.offset = INT32_MIN; });
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.quantize.encoding = abi::QuantizeEncoding::kAxisScaleOffset, t.v1.quantize.axis = {1, 3, three}; });
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.quantize.encoding = abi::QuantizeEncoding::kAxisScaleOffset, t.v1.quantize.axis = {-1, 3, three}; });
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.quantize.encoding = abi::QuantizeEncoding::kAxisScaleOffset, t.v1.quantize.axis = {1, 4, nullptr}; });
  expect(abi::kTensorInvalidParam, [](abi::Tensor& t) { t.v1.type = kStatic; });  // without data
  expect(abi::kTensorInvalidParam, [&](abi::Tensor& t) { t.v1.type = kStatic, t.v1.client = {zero, 7}; });
  expect(abi::kTensorUnsupportedParam, [](abi::Tensor& t) { t.v1.dtype = DataType::kSfixed4; });
  expect(abi::kTensorUnsupportedParam, [](abi::Tensor& t) { t.v1.type = TensorType::kAppReadWrite; });
  expect(abi::kTensorUnsupportedParam, [](abi::Tensor& t) { t.v1.type = TensorType::kOptionalAppWrite; });
  expect(abi::kTensorUnsupportedParam, [](abi::Tensor& t) { t.v1.format = abi::DataFormat::kSparse; });
  expect(abi::kTensorUnsupportedParam, [&](abi::Tensor& t) { t.version = 2, t.v2.is_dynamic_dims = dynamic; });
  expect(abi::kSuccess, [](abi::Tensor& t) { t.version = 2; });
}

TEST(HostNpuInterface, NodesThatCannotBe) {
  Session session;
  TestGraph graph(session, "g");
  TestTensor& x = graph.add(make("x", kAppWrite, kU8, {4, 8}));
  TestTensor& w = graph.add(make("w", kStatic, kS8, {6, 8}, 0.01f));
  TestTensor& y = graph.add(make("y", kAppRead, kU8, {4, 6}));
  TestTensor& h = graph.add(make("h", kNative, kF16, {4, 6}));
  TestTensor& wide = graph.add(make("wide", kNative, DataType::kUfixed16, {4, 6}));
  TestTensor& shape = graph.add(make("shape", kNative, kU8, {6, 4}));
  const auto refused = [&](const char* type, std::vector<TestTensor*> in, TestTensor& out, std::vector<abi::Param> params, const char* reason) {
    Session::lines().clear();
    const auto status = graph.try_node(type, in, out, std::move(params));
    EXPECT_EQ(status.validate, abi::kOpPackageValidationFailure) << type;
    EXPECT_NE(status.add, 0u) << type;
    ASSERT_FALSE(Session::lines().empty());
    EXPECT_NE(Session::lines()[0].find(reason), std::string::npos) << Session::lines()[0];
  };
  refused("FullyConnected", {&x, &w}, h, {}, "both have one type");
  refused("FullyConnected", {&x, &w}, wide, {}, "U8, S8, U16, S16 x S8");  // the log says what is taken
  refused("FullyConnected", {&x, &w}, shape, {}, "the output is not [4, 6]");
  refused("FullyConnected", {&x}, y, {}, "inputs");
  refused("FullyConnected", {&x, &w}, y, {TestGraph::scalar("keep_dims", DataType::kBool8, 1)}, "keep_dims");
  refused("FullyConnected", {&x, &w}, y, {TestGraph::scalar("surprise", DataType::kBool8, 1)}, "surprise");
  refused("Softermax", {&x}, y, {}, "there is no op Softermax");
  refused("Conv2d", {&x, &w}, y, {}, "rank 4");
  refused("Sigmoid", {&x}, y, {}, "does not repeat to the shape");
  refused("ElementWiseAdd", {&x, &w}, y, {}, "different types");
  refused("ElementWiseAdd", {&x, &x}, y, {}, "does not repeat to the shape");
  refused("Gather", {&x, &w}, y, {}, "'w' is S8");
  EXPECT_EQ(graph.try_node("Dequantize", {&y}, h).add, abi::kGraphUnconnectedNode);  // y is not written yet
  graph.node("FullyConnected", {&x, &w}, y);
  EXPECT_EQ(graph.try_node("FullyConnected", {&x, &w}, y).add, abi::kGraphInvalidTensor);  // written twice
  EXPECT_EQ(graph.try_node("Reshape", {&y}, x).add, abi::kGraphInvalidTensor);             // an input

  abi::Tensor in[2] = {x.qnn, w.qnn}, out = y.qnn;
  const abi::OpConfig good{1, "n", "qti.aisw", "FullyConnected", 0, nullptr, 2, in, 1, &out};
  const auto validate = slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig);
  EXPECT_EQ(validate(session.backend, good), 0u);
  const auto changed = [&](auto change) {
    abi::OpConfig op = good;
    change(op);
    EXPECT_NE(validate(session.backend, op), 0u);
    EXPECT_NE(slot<abi::GraphAddNodeFn>(Slot::kGraphAddNode)(graph.handle, op), 0u);
  };
  changed([](abi::OpConfig& op) { op.version = 2; });
  changed([](abi::OpConfig& op) { op.name = nullptr; });
  changed([](abi::OpConfig& op) { op.type = nullptr; });
  changed([](abi::OpConfig& op) { op.package = nullptr; });
  changed([](abi::OpConfig& op) { op.package = "somebody.else"; });
  changed([](abi::OpConfig& op) { op.inputs = nullptr; });
  changed([](abi::OpConfig& op) { op.input_count = 0xffffffff; });
  changed([](abi::OpConfig& op) { op.output_count = 0; });
  changed([](abi::OpConfig& op) { op.outputs = nullptr; });
  changed([](abi::OpConfig& op) { op.param_count = 3; });
  // Validation comes before a graph exists: ids are 0 and constants have no data.
  for (abi::Tensor* t : {&in[0], &in[1], &out}) t->v1.id = 0;
  in[1].v1.client = {nullptr, 0};
  EXPECT_EQ(validate(session.backend, good), 0u);
  EXPECT_EQ(slot<abi::GraphAddNodeFn>(Slot::kGraphAddNode)(graph.handle, good), abi::kGraphInvalidTensor);
}

TEST(HostNpuInterface, OrderOfCalls) {
  Session session;
  TestGraph empty(session, "empty");
  EXPECT_EQ(empty.finalize(), abi::kGraphFinalizeFailed);
  TestGraph graph(session, "g");
  build_chain(graph);
  EXPECT_EQ(graph.execute(), abi::kGraphNotFinalized);
  uint64_t size = 0;
  EXPECT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(session.context, &size), abi::kContextNotFinalized);
  ASSERT_EQ(graph.finalize(), 0u);
  EXPECT_EQ(graph.finalize(), abi::kGraphFinalized);
  Status status = 0;
  graph.try_add(make("late", kNative, kF16, {1, 1}), &status);
  EXPECT_EQ(status, abi::kGraphFinalized);
  graph.tensors.pop_back();
  EXPECT_EQ(graph.execute(), 0u);
  abi::GraphHandle other{};
  EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(session.context, "g", nullptr, &other), abi::kGraphInvalidName);
  EXPECT_EQ(slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(session.context, "none", &other), abi::kGraphInvalidName);
  ASSERT_EQ(slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(session.context, "g", &other), 0u);
  EXPECT_EQ(other, graph.handle);

  TestGraph unwritten(session, "unwritten");
  build_chain(unwritten);
  unwritten.add(make("nobody", kAppRead, kF16, {1, 4}));
  EXPECT_EQ(unwritten.finalize(), abi::kGraphUnconnectedNode);
  EXPECT_EQ(unwritten.finalize(), abi::kGraphFinalizeFailed);
}

TEST(HostNpuInterface, ExecutionArguments) {
  Session session;
  TestGraph graph(session, "g");
  build_chain(graph);
  ASSERT_EQ(graph.finalize(), 0u);
  TestTensor &x = graph.tensors.front(), &y = graph.tensors.back();
  const auto run = slot<abi::GraphExecuteFn>(Slot::kGraphExecute);
  abi::Tensor in[2] = {x.qnn, x.qnn}, out = y.qnn;
  const auto reset = [&] {
    in[0].v1.client = in[1].v1.client = {x.data.data(), static_cast<uint32_t>(x.data.size())};
    out.v1.client = {y.data.data(), static_cast<uint32_t>(y.data.size())};
    in[0].v1.id = x.qnn.v1.id;
    in[0].v1.mem_type = abi::TensorMemType::kRaw;
    in[0].version = 1;
  };
  reset();
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, in, 0, &out, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, in, 2, &out, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, nullptr, 1, &out, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, in, 1, nullptr, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, in, 0xffffffff, &out, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, &out, 1, in, 1, nullptr, nullptr), 0u);
  EXPECT_NE(run(graph.handle, in, 1, &out, 1, reinterpret_cast<abi::ProfileHandle>(session.backend), nullptr), 0u);
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, reinterpret_cast<abi::SignalHandle>(session.backend)), abi::kSignalInvalidHandle);
  in[0].v1.client.size -= 1;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidArgument);
  reset();
  in[0].v1.client.data = nullptr;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidArgument);
  reset();
  in[0].v1.id = 999;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidTensor);
  reset();
  in[0].v1.mem_type = abi::TensorMemType::kRetrieveRaw;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kMemUnsupportedType);
  reset();
  in[0].v1.mem_type = abi::TensorMemType::kMemHandle;  // the buffer's address is no handle
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kMemInvalidHandle);
  reset();
  in[0].version = 3;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidTensor);
  reset();
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), 0u);
}

TEST(HostNpuInterface, GraphHandlesEndWithTheirContext) {
  abi::GraphHandle graph{};
  std::unique_ptr<Session> session = std::make_unique<Session>();
  auto chain = std::make_unique<TestGraph>(*session, "g");
  build_chain(*chain);
  ASSERT_EQ(chain->finalize(), 0u);
  graph = chain->handle;
  session.reset();
  EXPECT_EQ(chain->execute(), abi::kGraphInvalidHandle);
  EXPECT_EQ(slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(graph, nullptr, nullptr), abi::kGraphInvalidHandle);
}

TEST(HostNpuInterface, BackendMayBeFreedBeforeItsContext) {
  abi::BackendHandle backend{};
  abi::ContextHandle context{};
  ASSERT_EQ(slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, nullptr, &backend), 0u);
  ASSERT_EQ(slot<abi::ContextCreateFn>(Slot::kContextCreate)(backend, nullptr, nullptr, &context), 0u);
  EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend), 0u);
  abi::GraphHandle graph{};
  EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(context, "g", nullptr, &graph), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr), abi::kContextInvalidHandle);
}

TEST(HostNpuInterface, GraphsWithoutInputs) {
  Session session;
  TestGraph graph(session, "constant");
  TestTensor& c = graph.add(make("c", kStatic, kF16, {3, 8}));
  TestTensor& y = graph.add(make("y", kAppRead, kF16, {3, 8}));
  graph.node("Relu", {&c}, y);
  ASSERT_EQ(graph.finalize(), 0u);
  ASSERT_EQ(graph.execute(), 0u);
  EXPECT_EQ(y.data, c.data);
}

TEST(HostNpuInterface, ContextTensorsAreShared) {
  Session session;
  TestTensor w = make("w", kStatic, kS8, {12, 16}, 0.01f);
  w.fill_struct();
  ASSERT_EQ(slot<abi::TensorCreateContextTensorFn>(Slot::kTensorCreateContextTensor)(session.context, &w.qnn), 0u);
  std::vector<std::byte> first;
  for (const char* name : {"a", "b"}) {
    TestGraph graph(session, name);
    TestTensor& x = graph.add(make("x", kAppWrite, kU8, {3, 16}));
    TestTensor& y = graph.add(make("y", kAppRead, kU8, {3, 12}));
    for (size_t i = 0; i < x.data.size(); ++i) x.data[i] = static_cast<std::byte>(i * 7);
    graph.node("FullyConnected", {&x, &w}, y);
    ASSERT_EQ(graph.finalize(), 0u);
    ASSERT_EQ(graph.execute(), 0u);
    if (first.empty()) first = y.data;
    EXPECT_EQ(y.data, first);
  }
  const auto bytes = binary_of(session);
  abi::ContextHandle loaded{};
  ASSERT_EQ(load(session, bytes, &loaded), 0u);
  EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(loaded, nullptr), 0u);
  // No byte of the header is free, those without a meaning included.
  for (size_t at = 0; at < 64; ++at) {
    auto damaged = bytes;
    damaged[at] ^= std::byte{0x10};
    EXPECT_NE(load(session, damaged, &loaded), 0u) << "byte " << at;
  }
}

}  // namespace
}  // namespace lutra::test
