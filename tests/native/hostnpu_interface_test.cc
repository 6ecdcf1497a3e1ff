// The host NPU as a library: what it exports, handles that are not valid, calls out of order, context binaries, threads, profiles, the lent pool.
#include <atomic>
#include <random>
#include <thread>

#include "hostnpu_client.h"

namespace lutra::test {
namespace {

using TensorType::kAppRead;
using TensorType::kAppWrite;
using TensorType::kNative;
using TensorType::kStatic;
const DataType kF16 = DataType::kFloat16, kU8 = DataType::kUfixed8, kS8 = DataType::kSfixed8;

TestTensor make(const std::string& name, TensorType type, DataType dtype, std::vector<uint32_t> dims, float scale = 0.03f) {
  TestTensor t;
  t.name = name;
  t.type = type;
  t.dtype = dtype;
  t.dims = std::move(dims);
  t.quantized = is_code(dtype);
  t.scales = {{scale, dtype == kU8 ? -128 : 0}};
  if (type == kStatic) {
    t.data.resize(t.bytes());
    std::mt19937 random(static_cast<uint32_t>(name.size()));
    for (std::byte& b : t.data) b = static_cast<std::byte>(dtype == kF16 ? random() % 60 : random());
  }
  return t;
}

/// x F16 → Quantize → FullyConnected → Dequantize → + row → y. Fills x.
void build_chain(TestGraph& graph, uint32_t rows = 9, uint32_t depth = 40, uint32_t outputs = 70) {
  TestTensor& x = graph.add(make("x", kAppWrite, kF16, {rows, depth}));
  TestTensor& q = graph.add(make("q", kNative, kU8, {rows, depth}));
  TestTensor& w = graph.add(make("w", kStatic, kS8, {outputs, depth}, 0.005f));
  TestTensor& z = graph.add(make("z", kNative, kU8, {rows, outputs}, 0.08f));
  TestTensor& d = graph.add(make("d", kNative, kF16, {rows, outputs}));
  TestTensor& c = graph.add(make("c", kStatic, kF16, {1, outputs}));
  TestTensor& y = graph.add(make("y", kAppRead, kF16, {rows, outputs}));
  graph.node("Quantize", {&x}, q);
  graph.node("FullyConnected", {&q, &w}, z);
  graph.node("Dequantize", {&z}, d);
  graph.node("ElementWiseAdd", {&d, &c}, y);
  for (size_t i = 0; i < x.elements(); ++i) {
    const uint16_t half = f32_to_f16(std::sin(static_cast<float>(i) * 0.37f) * 3.0f);
    std::memcpy(x.data.data() + i * 2, &half, 2);
  }
}

std::vector<std::byte> binary_of(const Session& session) {
  uint64_t size = 0, written = 0;
  EXPECT_EQ(slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(session.context, &size), 0u);
  std::vector<std::byte> bytes(size);
  EXPECT_EQ(slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(session.context, bytes.data(), size, &written), 0u);
  EXPECT_EQ(size, written);
  return bytes;
}

Status load(const Session& session, const std::vector<std::byte>& bytes, abi::ContextHandle* out) {
  return slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(session.backend, session.device, nullptr, bytes.data(), bytes.size(), out, nullptr);
}

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

TEST(HostNpuInterface, Provider) {
  const abi::QnnInterface& interface = host();
  EXPECT_EQ(interface.backend_id, abi::BackendId::kHtp);
  EXPECT_STREQ(interface.provider_name, "LUTRA_HOST");
  EXPECT_EQ(interface.core.major, 2u);
  EXPECT_GE(interface.core.minor, 40u);
  for (uint32_t needed : {0, 1, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 37, 38, 39, 40, 43, 48}) {
    EXPECT_NE(interface.table[needed], nullptr) << needed;
  }
  // Clients of later releases copy the table further than its type says here.
  abi::InterfaceOf<abi::kSlotsOfNewestClients> copy;
  std::memcpy(static_cast<void*>(&copy), &interface, sizeof copy);
  for (size_t i = 69; i < abi::kSlotsOfNewestClients; ++i) EXPECT_EQ(copy.table[i], nullptr) << i;
  const char* build = nullptr;
  EXPECT_EQ(slot<abi::BackendGetBuildIdFn>(Slot::kBackendGetBuildId)(&build), 0u);
  EXPECT_STRNE(build, "");
  abi::ApiVersion version{};
  EXPECT_EQ(slot<abi::BackendGetApiVersionFn>(Slot::kBackendGetApiVersion)(&version), 0u);
  EXPECT_EQ(version.core.minor, interface.core.minor);
}

TEST(HostNpuInterface, Properties) {
  const auto has = slot<abi::PropertyHasCapabilityFn>(Slot::kPropertyHasCapability);
  EXPECT_EQ(has(202), 0u);
  EXPECT_EQ(has(502), abi::kNotSupported);
  EXPECT_EQ(has(123456), abi::kPropertyUnknownKey);
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
  EXPECT_EQ(slot<abi::DeviceGetInfrastructureFn>(Slot::kDeviceGetInfrastructure)(&infrastructure), abi::kNotSupported);
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
  }
  // Handles of the wrong kind are none either.
  Session session;
  EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(reinterpret_cast<abi::BackendHandle>(session.context)), abi::kBackendInvalidHandle);
  EXPECT_EQ(slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(reinterpret_cast<abi::GraphHandle>(session.context), nullptr, nullptr), abi::kGraphInvalidHandle);
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
  in[0].v1.client.size -= 1;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidArgument);
  reset();
  in[0].v1.client.data = nullptr;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidArgument);
  reset();
  in[0].v1.id = 999;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kGraphInvalidTensor);
  reset();
  in[0].v1.mem_type = abi::TensorMemType::kMemHandle;
  EXPECT_EQ(run(graph.handle, in, 1, &out, 1, nullptr, nullptr), abi::kMemUnsupportedType);
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
}

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

TEST(HostNpuProfile, TimesOfGraphsAndNodes) {
  Session session;
  TestGraph graph(session, "timed");
  build_chain(graph, 128, 512, 512);
  for (const uint32_t level : {1u, 2u}) {
    abi::ProfileHandle profile{};
    ASSERT_EQ(slot<abi::ProfileCreateFn>(Slot::kProfileCreate)(session.backend, level, &profile), 0u);
    const uint64_t* ids = nullptr;
    uint32_t count = 7;
    EXPECT_EQ(slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(profile, &ids, &count), 0u);
    EXPECT_EQ(count, 0u);
    if (level == 1) {
      ASSERT_EQ(graph.finalize(profile), 0u);
    }
    ASSERT_EQ(graph.execute(profile), 0u);
    ASSERT_EQ(slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(profile, &ids, &count), 0u);
    ASSERT_EQ(count, 1u);
    abi::EventData event{};
    const uint64_t id = ids[0];
    ASSERT_EQ(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, &event), 0u);
    EXPECT_EQ(event.type, static_cast<uint32_t>(abi::ProfileEventType::kExecute));
    EXPECT_EQ(event.unit, abi::ProfileUnit::kMicroseconds);
    EXPECT_GT(event.value, 0u);
    EXPECT_STREQ(event.identifier, "timed");
    const uint64_t total = event.value;
    ASSERT_EQ(slot<abi::ProfileGetSubEventsFn>(Slot::kProfileGetSubEvents)(id, &ids, &count), 0u);
    EXPECT_EQ(count, level == 1 ? 0u : 4u);
    uint64_t sum = 0;
    bool linear = false;
    for (uint32_t i = 0; i < count; ++i) {
      ASSERT_EQ(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(ids[i], &event), 0u);
      EXPECT_EQ(event.type, static_cast<uint32_t>(abi::ProfileEventType::kNode));
      linear = linear || std::string(event.identifier).find("FullyConnected") == 0;
      sum += event.value;
    }
    EXPECT_EQ(linear, level == 2);
    EXPECT_LE(sum, total + 4);
    EXPECT_EQ(slot<abi::ProfileFreeFn>(Slot::kProfileFree)(profile), 0u);
    EXPECT_NE(slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, &event), 0u);
  }
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

}  // namespace
}  // namespace lutra::test
