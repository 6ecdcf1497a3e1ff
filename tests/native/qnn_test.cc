// The QNN client against fakes: what is loaded, refused, passed on, freed and reported, without any NPU.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <thread>

#include "base/error.h"
#include "qnn/context_image.h"
#include "qnn/graph.h"
#include "qnn/library.h"
#include "qnn/status.h"
#include "qnn/stdout_guard.h"
#include "qnn_fake.h"

namespace {
thread_local size_t allocations = 0;
}

// Counts what this thread allocates. Not inlined: the compiler would pair malloc with delete and complain.
__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace lutra::qnn {
namespace {

using testing::fake;
using DT = abi::DataType;

std::string library_path(const std::string& name) { return std::string(LUTRA_FAKE_QNN_DIR) + "/" + name + ".so"; }

/// Expects `action` to throw Error(code) whose message has every part and whose remedy is as wanted; returns the message.
template <class Action>
std::string expect_error(ErrorCode code, std::vector<std::string> parts, Action action, bool remedy = true) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_STREQ(error_code_name(error.code()), error_code_name(code)) << error.what();
    for (const std::string& part : parts) EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << "'" << part << "' in: " << error.what();
    EXPECT_EQ(!error.remedy().empty(), remedy) << error.remedy();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

// ----------------------------------------------------------------------------------------------------------------- loading

TEST(QnnLibrary, OpensAndTellsWhatItIs) {
  const auto library = Library::open(library_path("good"));
  EXPECT_EQ(library->info().source, std::filesystem::absolute(library_path("good")).string());
  EXPECT_EQ(library->info().provider, "FAKE");
  EXPECT_EQ(library->info().backend_id, abi::BackendId::kHtp);
  EXPECT_EQ(to_string(library->info().core), "2.27.1");
  EXPECT_EQ(to_string(library->info().backend), "5.36.0");
  EXPECT_EQ(library->info().build_id, "");
  EXPECT_NE(library->api().graph_execute, nullptr);
}

TEST(QnnLibrary, RefusesWhatIsNotUsable) {
  expect_error(ErrorCode::kLibraryNotFound, {"missing.so"}, [] { Library::open(library_path("missing")); });
  expect_error(ErrorCode::kLibraryNotFound, {}, [] { Library::open(""); });
  expect_error(ErrorCode::kNotQnn, {"not_qnn.so", "QnnInterface_getProviders"}, [] { Library::open(library_path("not_qnn")); });
  expect_error(ErrorCode::kNotQnn, {"no QNN provider"}, [] { Library::open(library_path("no_providers")); });
  expect_error(ErrorCode::kNotQnn, {"1003 COMMON_SYSTEM"}, [] { Library::open(library_path("failing")); });
  expect_error(ErrorCode::kNotQnn, {"graphExecute"}, [] { Library::open(library_path("null_execute")); });
  expect_error(ErrorCode::kQnnVersion, {"2.26.1", "27"}, [] { Library::open(library_path("old")); });
  expect_error(ErrorCode::kQnnVersion, {"3.0.1"}, [] { Library::open(library_path("next_major")); });
}

TEST(QnnLibrary, RefusesAFileThatIsNoLibrary) {
  const std::string path = std::string(LUTRA_FAKE_QNN_DIR) + "/text.so";
  std::ofstream(path) << "this is text";
  expect_error(ErrorCode::kLibraryNotFound, {"text.so"}, [&] { Library::open(path); });
}

TEST(QnnLibrary, TakesTheFirstProviderOfAnAcceptedVersion) {
  EXPECT_EQ(Library::open(library_path("old_then_good"))->info().provider, "FAKE");
  EXPECT_EQ(Library::open(library_path("null_then_good"))->info().provider, "FAKE");
}

TEST(QnnLibrary, EntriesThatAreNotNeededMayBeMissing) {
  const auto library = Library::open(library_path("null_log"));
  EXPECT_EQ(library->api().log_create, nullptr);
  EXPECT_NE(library->api().log_free, nullptr);
}

TEST(QnnLibrary, LoadsTheRuntimeThatLiesBesideIt) {
  EXPECT_THROW(DynamicLibrary(library_path("runtime/needs_runtime")), Error) << "its own search path must not find the runtime";
  EXPECT_EQ(Library::open(library_path("runtime/needs_runtime"))->info().provider, "FAKE");
}

TEST(QnnLibrary, KeepsWhatALibraryPrintsOffStandardOutput) {
  const auto file = std::filesystem::temp_directory_path() / ("lutra-qnn-test-" + std::to_string(getpid()));
  const int saved = dup(STDOUT_FILENO);
  std::fflush(stdout);
  FILE* capture = std::fopen(file.c_str(), "w");
  ASSERT_NE(capture, nullptr);
  dup2(fileno(capture), STDOUT_FILENO);
  std::printf("before;");
  Library::open(library_path("printing"), {.quiet_stdout = true});
  std::printf("after;");
  {
    const StdoutGuard inactive(false);
    std::printf("inactive;");
    std::fflush(stdout);
  }
  dup2(saved, STDOUT_FILENO);
  close(saved);
  std::fclose(capture);
  std::string text;
  std::getline(std::ifstream(file), text);
  std::filesystem::remove(file);
  EXPECT_EQ(text, "before;after;inactive;");
}

// ---------------------------------------------------------------------------------------------------------------- handles

class QnnFake : public ::testing::Test {
 protected:
  void SetUp() override { testing::reset_fake(); }
  static std::shared_ptr<const Library> library() { return Library::embedded(&testing::fake_get_providers, "fake"); }
  static std::shared_ptr<Context> context(std::optional<uint32_t> soc = std::nullopt) {
    return Context::create(Device::create(Backend::create(library()), soc));
  }
  static TensorDesc tensor(const std::string& name, std::vector<uint32_t> dims = {2, 3}, DT dtype = DT::kUfixed8) {
    return {.name = name, .dtype = dtype, .dims = std::move(dims), .encoding = {}, .data = {}};
  }
  /// x [2, 3] U8 → y [2, 3] U8.
  static Graph relu(const std::shared_ptr<Context>& in, const std::string& name = "g") {
    GraphBuilder builder(in, name);
    const TensorRef x = builder.input(tensor("x")), y = builder.output(tensor("y"));
    builder.node({.name = "r", .type = "Relu", .inputs = {x}, .outputs = {y}, .params = {}});
    return builder.finalize();
  }
};

TEST_F(QnnFake, EmbeddedLibraryIsCheckedLikeAFile) {
  EXPECT_EQ(library()->info().source, "fake");
  EXPECT_EQ(library()->info().build_id, "fake-1");
  expect_error(ErrorCode::kInvalidArgument, {"fake"}, [] { Library::embedded(nullptr, "fake"); }, false);
  testing::fake_interface().core = {2, 26, 9};
  expect_error(ErrorCode::kQnnVersion, {"'fake'", "2.26.9"}, [] { library(); });
  testing::fake_interface().core = {2, 27, 0};
  for (const auto slot : {abi::Slot::kBackendCreate, abi::Slot::kBackendValidateOpConfig, abi::Slot::kBackendFree, abi::Slot::kContextCreate,
                          abi::Slot::kContextFree, abi::Slot::kGraphCreate, abi::Slot::kGraphAddNode, abi::Slot::kGraphFinalize,
                          abi::Slot::kGraphExecute, abi::Slot::kTensorCreateGraphTensor}) {
    testing::reset_fake();
    testing::fake_interface().table[static_cast<size_t>(slot)] = nullptr;
    expect_error(ErrorCode::kNotQnn, {"empty"}, [] { library(); });
  }
}

TEST_F(QnnFake, ChildrenKeepTheirParentsAndAreFreedFirst) {
  {
    std::optional<Graph> graph(relu(context(57)));
    const std::vector<std::byte> in(6);
    std::vector<std::byte> out(6);
    const std::span<const std::byte> inputs[] = {in};
    const std::span<std::byte> outputs[] = {out};
    Graph moved = std::move(*graph);
    graph.reset();
    EXPECT_FALSE(fake().called("contextFree"));
    moved.execute(inputs, outputs);
    EXPECT_EQ(out[5], std::byte(0x5A));
  }
  const std::vector<std::string> end(fake().calls.end() - 4, fake().calls.end());
  EXPECT_EQ(end, (std::vector<std::string>{"contextFree", "deviceFree", "backendFree", "logFree"}));
}

TEST_F(QnnFake, AFailedCreationFreesWhatCameBefore) {
  fake().device_status = 14001;
  expect_error(ErrorCode::kQnnCall, {"deviceCreate", "SoC 57", "14001", "SoC id"}, [] { context(57); });
  EXPECT_FALSE(fake().called("deviceFree"));
  EXPECT_TRUE(fake().called("backendFree"));
  EXPECT_TRUE(fake().called("logFree"));
}

TEST_F(QnnFake, SocReachesBothLayoutsOfTheDeviceConfiguration) {
  context(57);
  ASSERT_EQ(fake().soc_bytes.size(), 24u);
  EXPECT_EQ(fake().soc_bytes[0], 0);
  EXPECT_EQ(fake().soc_bytes[4], 57);
  EXPECT_EQ(fake().soc_bytes[8], 57);
  context();
  EXPECT_TRUE(fake().soc_bytes.empty());
}

TEST_F(QnnFake, OneSocAtATimeWhereTheLibraryKnowsOnlyOne) {
  // The claim outlives the test in the library's own terms, so this one has a function of its own to be known by.
  testing::fake_interface().provider_name = "HTP_QTI_AISW";
  testing::put(abi::Slot::kDeviceCreate, +[](abi::LogHandle, const abi::DeviceConfig** list, abi::DeviceHandle* out) -> abi::Status {
    const bool known = list == nullptr || static_cast<const abi::HtpDeviceCustomConfig*>(list[0]->const_pointer)->soc != 4242;
    *out = testing::handle_of<abi::DeviceHandle>(3);
    return known ? 0 : 14001;
  });
  {
    const auto automatic = context();
    expect_error(ErrorCode::kBusy, {"'fake'", "the default SoC", "SoC 57"}, [] { context(57); });
    context();
  }
  {
    const auto first = context(57), second = context(57);
    expect_error(ErrorCode::kBusy, {"SoC 57", "SoC 69"}, [] { context(69); });
    expect_error(ErrorCode::kBusy, {"SoC 57", "the default SoC"}, [] { context(); });
  }
  expect_error(ErrorCode::kBusy, {"SoC 57", "the default SoC"}, [] { context(); });  // the library still remembers
  context(69);
  expect_error(ErrorCode::kQnnCall, {"14001"}, [] { context(4242); });
  context(57);
}

TEST_F(QnnFake, ABackendWithoutDevicesIsUsableWithoutASoc) {
  fake().device_status = 1000;
  const auto device = Device::create(Backend::create(library()));
  EXPECT_EQ(device->handle(), nullptr);
  expect_error(ErrorCode::kQnnCall, {"deviceCreate"}, [] { context(57); }, false);
  testing::fake_interface().table[static_cast<size_t>(abi::Slot::kDeviceCreate)] = nullptr;
  context();
  expect_error(ErrorCode::kUnsupported, {"no devices"}, [] { context(57); });
}

TEST_F(QnnFake, BackendGetsItsCustomConfigurationAndListsItsOps) {
  const int custom = 1;
  const auto backend = Backend::create(library(), {}, &custom);
  EXPECT_EQ(fake().backend_custom, &custom);
  EXPECT_EQ(backend->supported_operations(), (std::vector<std::string>{"Conv2d", "Relu"}));
  Backend::create(library());
  EXPECT_EQ(fake().backend_custom, nullptr);
}

TEST_F(QnnFake, VotesAreGivenWhileAwakeAndTakenBack) {
  const auto device = Device::create(Backend::create(library()));
  EXPECT_FALSE(device->vote(PowerMode::kBurst).has_value());
  fake().has_infrastructure = true;
  const std::vector<std::pair<PowerMode, uint32_t>> corners = {
      {PowerMode::kBurst, abi::kHtpCornerMax}, {PowerMode::kSustained, abi::kHtpCornerTurbo}, {PowerMode::kBalanced, abi::kHtpCornerNomPlus}, {PowerMode::kSaver, abi::kHtpCornerSvs}};
  for (const auto& [mode, corner] : corners) {
    fake().power.clear();
    auto vote = device->vote(mode);
    ASSERT_TRUE(vote.has_value());
    EXPECT_FALSE(vote->awake());
    EXPECT_TRUE(fake().power.empty());
    vote->wake();
    vote->wake();
    ASSERT_EQ(fake().power.size(), 4u);
    EXPECT_EQ(fake().power[0].option, abi::HtpPowerOption::kDcvsV3);
    EXPECT_EQ(fake().power[0].dcvs_v3.context_id, 31u);
    EXPECT_EQ(fake().power[0].dcvs_v3.dcvs_enable, 0u);
    EXPECT_EQ(fake().power[0].dcvs_v3.core_min, corner);
    EXPECT_EQ(fake().power[2].u32, mode == PowerMode::kBurst ? 9999u : 0u);
    EXPECT_EQ(fake().power[3].hmx_v2.pick_default, 0u);
    vote->rest();
    vote->rest();
    ASSERT_EQ(fake().power.size(), 7u);
    EXPECT_EQ(fake().power[4].dcvs_v3.dcvs_enable, 1u);
    EXPECT_EQ(fake().power[4].dcvs_v3.core_max, abi::kHtpCornerSvs2);
    EXPECT_EQ(fake().power[6].hmx_v2.pick_default, 1u);
    vote->wake();
    PowerVote moved = std::move(*vote);
    vote.reset();
    EXPECT_TRUE(moved.awake());
    EXPECT_EQ(fake().power.size(), 11u);  // the one that was moved from gives nothing back
  }
  EXPECT_TRUE(fake().called("destroyPowerConfigId"));
  EXPECT_EQ(fake().power.size(), 14u);
  testing::fake_interface().backend_id = abi::BackendId::kCpu;
  EXPECT_FALSE(Device::create(Backend::create(library()))->vote(PowerMode::kBurst).has_value());
}

TEST(PowerModes, HaveNames) {
  EXPECT_EQ(power_mode("burst"), PowerMode::kBurst);
  EXPECT_EQ(power_mode("saver"), PowerMode::kSaver);
  EXPECT_EQ(power_mode("Burst"), std::nullopt);
  EXPECT_EQ(power_mode(""), std::nullopt);
}

// -------------------------------------------------------------------------------------------------------------------- log

TEST_F(QnnFake, SinkGetsFormattedLinesUntilTheBackendIsGone) {
  std::vector<std::pair<int, std::string>> lines;
  auto backend = Backend::create(library(), {.sink = [&](int level, std::string_view line) { lines.emplace_back(level, line); }, .level = abi::LogLevel::kInfo});
  EXPECT_EQ(fake().log_level, 3u);
  testing::fake_log(3, "%d and %s\n", 7, "text");
  const std::string longer(3000, 'x');
  testing::fake_log(1, "long %s end", longer.c_str());
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], (std::pair<int, std::string>(3, "7 and text")));
  EXPECT_EQ(lines[1], (std::pair<int, std::string>(1, "long " + longer + " end")));
  EXPECT_EQ(backend->take_errors(), (std::vector<std::string>{lines[1].second}));
  EXPECT_TRUE(backend->take_errors().empty());
  backend.reset();
  testing::fake_log(1, "late");
  EXPECT_EQ(lines.size(), 2u);
}

TEST_F(QnnFake, WithoutASinkOnlyErrorsAreAskedForAndRemembered) {
  const auto backend = Backend::create(library());
  EXPECT_EQ(fake().log_level, 1u);
  for (int i = 0; i < 100; ++i) testing::fake_log(1, "error %d", i);
  testing::fake_log(2, "warning");
  const auto errors = backend->take_errors();
  ASSERT_EQ(errors.size(), LogChannel::kRemembered);
  EXPECT_EQ(errors.back(), "error 99");
}

TEST_F(QnnFake, AThrowingSinkDoesNotReachTheLibrary) {
  const auto backend = Backend::create(library(), {.sink = [](int, std::string_view) { throw std::runtime_error("sink"); }});
  testing::fake_log(1, "line");
  EXPECT_EQ(backend->take_errors().size(), 1u);
}

TEST_F(QnnFake, BackendsHaveTheirOwnSinksAndAnEndOfThemIsAnError) {
  std::vector<std::shared_ptr<Backend>> backends;
  std::vector<int> counts(LogChannel::kMax);
  std::vector<abi::LogCallback> callbacks;
  for (size_t i = 0; i < LogChannel::kMax; ++i) {
    backends.push_back(Backend::create(library(), {.sink = [&counts, i](int, std::string_view) { ++counts[i]; }}));
    callbacks.push_back(fake().log);
  }
  fake().log = callbacks[5];
  testing::fake_log(1, "only the sixth");
  EXPECT_EQ(counts[5], 1);
  EXPECT_EQ(std::count(counts.begin(), counts.end(), 0), static_cast<long>(LogChannel::kMax - 1));
  expect_error(ErrorCode::kBusy, {"16"}, [] { Backend::create(library()); });
  backends.pop_back();
  Backend::create(library());
}

TEST_F(QnnFake, LinesFromManyThreadsArriveOneAtATimeAndNeverAfterTheEnd) {
  std::atomic<bool> gone{false}, stop{false};
  std::atomic<int> inside{0}, wrong{0}, seen{0};
  auto backend = Backend::create(library(), {.sink = [&](int, std::string_view) {
                                               if (gone || inside.fetch_add(1) != 0) ++wrong;
                                               ++seen;
                                               inside.fetch_sub(1);
                                             }});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&stop] {
      while (!stop) testing::fake_log(2, "%d", 1);
    });
  }
  while (seen < 1000) std::this_thread::yield();
  backend.reset();
  gone = true;
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// ------------------------------------------------------------------------------------------------------------------ graphs

TEST_F(QnnFake, NodesCarryTheirParameters) {
  GraphBuilder builder(context(), "g", {.optimization = 3.0f, .vtcm_mb = 8, .hvx_threads = 4});
  EXPECT_EQ(fake().graph_options.size(), 3u);
  EXPECT_EQ(fake().graph_options[0], "1:3");
  EXPECT_EQ(fake().graph_options[1], "3:8");
  EXPECT_EQ(fake().graph_options[2], "6:4");
  const TensorRef x = builder.input(tensor("x")), y = builder.output(tensor("y"));
  builder.node({.name = "n", .type = "Conv2d", .inputs = {x}, .outputs = {y}, .params = {
      ParamDesc::tensor("pad_amount", {2, 2}, {1, 2, 3, 4}), ParamDesc::f32("epsilon", 0.5f), ParamDesc::u32("group", 7),
      ParamDesc::i32("axis", -1), ParamDesc::boolean("keep_dims", true)}});
  EXPECT_EQ(fake().last_op, "qti.aisw Conv2d n pad_amount=1,2,3,4 epsilon=f0.500000 group=u7 axis=i-1 keep_dims=true");
}

TEST_F(QnnFake, ARefusedNodeIsNamedWithEverythingThatMatters) {
  fake().refused_op = "FullyConnected";
  const std::vector<int8_t> weight(12);
  const std::vector<float> scales = {0.1f, 0.2f, 0.3f, 0.4f};
  GraphBuilder builder(context(), "layer0");
  const TensorRef x = builder.input({.name = "x", .dtype = DT::kUfixed8, .dims = {2, 3}, .encoding = Encoding::scale_offset(0.25f, -128), .data = {}});
  const TensorRef w = builder.constant({.name = "w", .dtype = DT::kSfixed8, .dims = {4, 3}, .encoding = Encoding::per_axis(0, scales), .data = std::as_bytes(std::span(weight))});
  const TensorRef y = builder.output({.name = "y", .dtype = DT::kFloat16, .dims = {2, 4}, .encoding = {}, .data = {}});
  expect_error(ErrorCode::kQnnNode,
               {"backendValidateOpConfig", "node 'q'", "graph 'layer0'", "FullyConnected", "x: U8 [2, 3] scale 0.25 offset -128", "w: S8 [4, 3] 4 scales on axis 0",
                "y: F16 [2, 4]", "keep_dims false", "3110 OP_PACKAGE_VALIDATION_FAILURE", "does not support this op", "supported types: in[0]: UFIXED_8"},
               [&] { builder.node({.name = "q", .type = "FullyConnected", .inputs = {x, w}, .outputs = {y}, .params = {ParamDesc::boolean("keep_dims", false)}}); });
  EXPECT_FALSE(fake().called("addNode q"));
  expect_error(ErrorCode::kInvalidArgument, {"layer0"}, [&] { builder.finalize(); }, false);
}

TEST_F(QnnFake, DescriptionsThatContradictThemselvesAreRefused) {
  GraphBuilder builder(context(), "g");
  const auto refuse = [&](const TensorDesc& desc, const std::string& part) {
    expect_error(ErrorCode::kInvalidArgument, {part}, [&] { builder.input(desc); }, false);
  };
  const std::vector<std::byte> data(6);
  refuse(tensor(""), "no name");
  refuse(tensor("t", {}), "no dimensions");
  refuse(tensor("t", {2, 0}), "length 0");
  refuse(tensor("t", {65536, 65536}), "4 GiB");
  refuse({.name = "t", .dtype = DT::kUfixed8, .dims = {6}, .encoding = {}, .data = data}, "not a constant");
  const std::vector<float> two = {1, 2};
  refuse({.name = "t", .dtype = DT::kSfixed8, .dims = {2, 3}, .encoding = Encoding::per_axis(1, two), .data = {}}, "needs 3 scales on axis 1 but has 2");
  refuse({.name = "t", .dtype = DT::kSfixed8, .dims = {2, 3}, .encoding = Encoding::per_axis(2, two), .data = {}}, "axis 2");
  refuse({.name = "t", .dtype = DT::kSfixed8, .dims = {2}, .encoding = Encoding::per_axis(-1, two), .data = {}}, "axis -1");
  refuse({.name = "t", .dtype = DT::kSfixed8, .dims = {2}, .encoding = Encoding::scale_offset(std::numeric_limits<float>::infinity(), 0), .data = {}}, "not finite");
  expect_error(ErrorCode::kInvalidArgument, {"needs 12 bytes", "has 6"},
               [&] { builder.constant({.name = "t", .dtype = DT::kUfixed16, .dims = {2, 3}, .encoding = {}, .data = data}); }, false);
  expect_error(ErrorCode::kUnsupported, {"S4"}, [&] { builder.input(tensor("t", {2}, DT::kSfixed4)); }, false);
  expect_error(ErrorCode::kUnsupported, {"0x0777"}, [&] { builder.input(tensor("t", {2}, static_cast<DT>(0x777))); }, false);
  builder.input(tensor("x"));
  refuse(tensor("x"), "two tensors named 'x'");
  expect_error(ErrorCode::kInvalidArgument, {"does not have"},
               [&] { builder.node({.name = "n", .type = "Relu", .inputs = {{99}}, .outputs = {}, .params = {}}); }, false);
  expect_error(ErrorCode::kQnnCall, {"refused: U8 [2, 3]", "7004"}, [&] { builder.input(tensor("refused")); }, false);
}

TEST_F(QnnFake, ExecuteChecksBuffersAndPassesThemOn) {
  Graph graph = relu(context());
  EXPECT_EQ(graph.input_count(), 1u);
  EXPECT_EQ(graph.output_bytes(0), 6u);
  std::vector<std::byte> in(6), out(6), wrong(5);
  const std::span<const std::byte> inputs[] = {in};
  const std::span<std::byte> outputs[] = {out}, short_outputs[] = {wrong};
  fake().executed_inputs.reserve(4);
  fake().executed_outputs.reserve(4);
  const size_t before = allocations;
  graph.execute(inputs, outputs);
  EXPECT_EQ(allocations, before) << "execute allocated";
  EXPECT_EQ(fake().executed_inputs.at(0).v1.client.data, in.data());
  EXPECT_EQ(fake().executed_inputs.at(0).v1.id, 100u);
  EXPECT_EQ(fake().executed_outputs.at(0).v1.client.size, 6u);
  expect_error(ErrorCode::kInvalidArgument, {"output 'y'", "needs 6 bytes but 5"}, [&] { graph.execute(inputs, short_outputs); }, false);
  expect_error(ErrorCode::kInvalidArgument, {"1 input tensors but 0"}, [&] { graph.execute({}, outputs); }, false);
  fake().execute_status = 1007;
  expect_error(ErrorCode::kQnnCall, {"graphExecute", "graph 'g'", "1007"}, [&] { graph.execute(inputs, outputs); });
}

TEST_F(QnnFake, AFailedFinalizeIsReported) {
  fake().finalize_status = 1002;
  expect_error(ErrorCode::kQnnCall, {"graphFinalize", "'g'", "1002"}, [] { relu(context()); });
}

TEST_F(QnnFake, ProfilesAreReadAsATree) {
  const auto backend = Backend::create(library());
  {
    const Profile profile(backend);
    const auto events = profile.events();
    ASSERT_EQ(events.size(), 3u);
    EXPECT_EQ(events[0].type, 401u);
    EXPECT_EQ(events[0].identifier, "");
    EXPECT_EQ(events[0].depth, 0u);
    EXPECT_EQ(events[1].value, 2000u);
    EXPECT_EQ(events[2].depth, 1u);
    EXPECT_EQ(events[2].value, 9000u);
    EXPECT_STREQ(unit_name(events[2].unit), "cycles");
  }
  EXPECT_TRUE(fake().called("profileFree"));
  testing::fake_interface().table[static_cast<size_t>(abi::Slot::kProfileCreate)] = nullptr;
  expect_error(ErrorCode::kUnsupported, {"does not profile"}, [] { Profile(Backend::create(library())); });
}

// ------------------------------------------------------------------------------------------------------------------ images

TEST_F(QnnFake, ImagesKeepKeyGraphsAndBinary) {
  const auto made = context();
  const Graph graph = relu(made);
  const GraphIds graphs[] = {graph.ids(), {"second", {}, {7, 8, 9}}};
  const std::vector<std::byte> image = encode_image("the key", *made, graphs);
  const ImageView view = decode_image(image);
  EXPECT_EQ(view.key, "the key");
  ASSERT_EQ(view.graphs.size(), 2u);
  EXPECT_EQ(view.find("g")->inputs, (std::vector<uint32_t>{100}));
  EXPECT_EQ(view.find("second")->outputs, (std::vector<uint32_t>{7, 8, 9}));
  EXPECT_EQ(view.find("third"), nullptr);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(view.binary.data()), view.binary.size()), "bytes");
  EXPECT_EQ((view.binary.data() - image.data()) % 64, 0);

  const auto loaded = Context::from_binary(made->device(), view.binary);
  const TensorDesc inputs[] = {tensor("x")}, outputs[] = {tensor("y")};
  EXPECT_EQ(Graph::retrieve(loaded, *view.find("g"), inputs, outputs).ids().outputs, (std::vector<uint32_t>{101}));
  expect_error(ErrorCode::kInvalidArgument, {"1 inputs"}, [&] { Graph::retrieve(loaded, *view.find("g"), {}, outputs); }, false);
  expect_error(ErrorCode::kQnnCall, {"graphRetrieve", "missing", "6003"}, [&] { Graph::retrieve(loaded, {"missing", {1}, {2}}, inputs, outputs); }, false);
  expect_error(ErrorCode::kQnnCall, {"contextCreateFromBinary", "4 bytes", "5005"}, [&] { Context::from_binary(made->device(), view.binary.first(4)); });
  fake().truncates = true;
  expect_error(ErrorCode::kQnnCall, {"17"}, [&] { made->binary(); }, false);
}

TEST_F(QnnFake, EveryDamagedImageIsRefused) {
  const auto made = context();
  const GraphIds graphs[] = {{"g", {1}, {2, 3}}};
  const std::vector<std::byte> image = encode_image("key", *made, graphs);
  for (size_t length = 0; length < image.size(); ++length) {
    expect_error(ErrorCode::kBadFile, {"not a usable context image"}, [&] { decode_image(std::span(image).first(length)); });
  }
  for (size_t i = 0; i < image.size(); ++i) {
    std::vector<std::byte> damaged = image;
    damaged[i] ^= std::byte(0x10);
    expect_error(ErrorCode::kBadFile, {}, [&] { decode_image(damaged); });
  }
  std::vector<std::byte> longer = image;
  longer.push_back(std::byte(0));
  expect_error(ErrorCode::kBadFile, {}, [&] { decode_image(longer); });
}

TEST_F(QnnFake, LibrariesWithoutBinariesSaySo) {
  for (const auto slot : {abi::Slot::kContextGetBinarySize, abi::Slot::kContextCreateFromBinary, abi::Slot::kGraphRetrieve}) {
    testing::fake_interface().table[static_cast<size_t>(slot)] = nullptr;
  }
  const auto made = context();
  expect_error(ErrorCode::kUnsupported, {"context binaries"}, [&] { made->binary(); });
  expect_error(ErrorCode::kUnsupported, {"context binaries"}, [&] { Context::from_binary(made->device(), {}); });
  expect_error(ErrorCode::kUnsupported, {"'fake'"}, [&] { Graph::retrieve(made, {"g", {}, {}}, {}, {}); }, false);
}

// ------------------------------------------------------------------------------------------------------------------ status

TEST(QnnStatus, CodesHaveNamesAndOnlyTheLowBitsCount) {
  EXPECT_STREQ(status_info(1002).name, "COMMON_MEM_ALLOC");
  EXPECT_STREQ(status_info(0xABCD0000 + 14001).name, "DEVICE_INVALID_CONFIG");
  EXPECT_STREQ(status_info(6999).name, "GRAPH");
  EXPECT_STREQ(status_info(31234).name, "SYSTEM");
  EXPECT_STREQ(status_info(65000).name, "UNKNOWN");
  EXPECT_STREQ(status_info(0).name, "SUCCESS");
  EXPECT_STRNE(status_info(0x10000).name, "SUCCESS");
  EXPECT_NE(describe_status(5005).find("5005 CONTEXT_CREATE_FROM_BINARY"), std::string::npos);
}

}  // namespace
}  // namespace lutra::qnn
