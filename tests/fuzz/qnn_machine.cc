// The part of the program that makes, asks and frees handles.
#include "qnn_machine.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <thread>

#include "hostnpu/hostnpu.h"

namespace lutra::fuzz {
namespace {

using abi::Slot;

constexpr size_t kMostCalls = 300;

/// Reads the whole message, as a client that prints it would.
void on_log(const char* format, uint32_t, uint64_t, va_list arguments) {
  char line[256];
  (void)std::vsnprintf(line, sizeof line, format, arguments);
}

}  // namespace

const QnnLibrary& host_library() {
  static const QnnLibrary library = [] {
    const abi::QnnInterface** providers = nullptr;
    const abi::SystemInterface** system_providers = nullptr;
    uint32_t count = 0;
    if (hostnpu::get_providers(&providers, &count) != 0 || count != 1) fail("no provider");
    if (hostnpu::get_system_providers(&system_providers, &count) != 0 || count != 1) fail("no system provider");
    QnnLibrary out{*providers[0], {}};
    std::memcpy(static_cast<void*>(&out.system), system_providers[0], sizeof out.system);
    return out;
  }();
  return library;
}

std::vector<std::string> supported_ops(const QnnLibrary& library) {
  abi::BackendHandle backend{};
  if (library.slot<abi::BackendCreateFn>(Slot::kBackendCreate)(nullptr, nullptr, &backend) != 0) fail("no backend");
  uint32_t count = 0;
  const abi::OperationName* names = nullptr;
  if (library.slot<abi::BackendGetSupportedOperationsFn>(Slot::kBackendGetSupportedOperations)(backend, &count, &names) != 0) fail("no list of ops");
  std::vector<std::string> out;
  for (uint32_t i = 0; i < count; ++i) out.push_back(names[i].name);
  library.slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend);
  return out;
}

QnnMachine::~QnnMachine() {
  for (const ContextState& one : contexts_) slot<abi::ContextFreeFn>(Slot::kContextFree)(one.handle, nullptr);
  for (const auto one : profiles_) slot<abi::ProfileFreeFn>(Slot::kProfileFree)(one);
  for (const auto one : devices_) slot<abi::DeviceFreeFn>(Slot::kDeviceFree)(one);
  for (const auto one : backends_) slot<abi::BackendFreeFn>(Slot::kBackendFree)(one);
  for (const auto one : logs_) slot<abi::LogFreeFn>(Slot::kLogFree)(one);
}

void QnnMachine::run(ByteSource& source) {
  log_calls(source);
  create_backend(source);
  create_context(source);
  create_graph(source);
  for (size_t calls = 0; calls < kMostCalls && !source.ended(); ++calls) {
    switch (source.below(40)) {
      case 0: create_backend(source); break;
      case 1: create_context(source); break;
      case 2: create_graph(source); break;
      case 3: free_context(source); break;
      case 4: log_calls(source); break;
      case 5: device_calls(source); break;
      case 6: profile_calls(source); break;
      case 7: query_calls(source); break;
      case 8: set_configs(source); break;
      case 9: system_calls(binary_); break;
      case 10: free_one(backends_, source, [&](auto handle) { return slot<abi::BackendFreeFn>(Slot::kBackendFree)(handle); }); break;
      case 11: at_once(source); break;
      case 12: case 13: add_tensor(source); break;
      case 14: case 15: case 16: finalize(source); break;
      case 17: case 18: case 19: execute(source); break;
      case 20: execute_wrongly(source); break;
      case 21: case 22: save(source); break;
      case 23: restore_damaged(source); break;
      default: add_node(source); break;
    }
  }
}

QnnMachine::GraphState* QnnMachine::pick_graph(ByteSource& source) {
  ContextState* context = pick_context(source);
  if (context == nullptr || context->graphs.empty()) return nullptr;
  // The last one is the one under construction.
  return source.one_in(4) ? &context->graphs[source.below(context->graphs.size())] : &context->graphs.back();
}

void QnnMachine::create_backend(ByteSource& source) {
  if (backends_.size() >= 4) return;
  hostnpu::BackendCustomConfig threads{{}, source.one_in(8) ? 2u : 1u, nullptr, nullptr};
  std::memcpy(threads.magic, hostnpu::kCustomConfigMagic, sizeof threads.magic);
  const uint64_t foreign[8] = {source.word()};
  abi::BackendConfig custom{}, other{};
  custom.option = abi::BackendOption::kCustom;
  custom.const_pointer = &threads;
  other.option = static_cast<abi::BackendOption>(source.below(5));
  other.const_pointer = source.one_in(2) ? static_cast<const void*>(foreign) : nullptr;
  const abi::BackendConfig* list[] = {&other, &custom, nullptr};
  abi::BackendHandle handle{};
  const auto status = slot<abi::BackendCreateFn>(Slot::kBackendCreate)(one_of(logs_, source), list, source.one_in(64) ? nullptr : &handle);
  if (status == 0) backends_.push_back(remember(handle));
}

void QnnMachine::create_context(ByteSource& source) {
  if (contexts_.size() >= 4) return;
  abi::ContextConfig config{};
  config.option = static_cast<abi::ContextOption>(source.below(12));
  const abi::ContextConfig* list[] = {&config, nullptr};
  abi::ContextHandle handle{};
  const auto status = slot<abi::ContextCreateFn>(Slot::kContextCreate)(one_of(backends_, source), one_of(devices_, source), source.one_in(2) ? list : nullptr, &handle);
  if (status != 0) return;
  contexts_.emplace_back().handle = remember(handle);
  create_graph(source);
}

void QnnMachine::create_graph(ByteSource& source) {
  ContextState* context = pick_context(source);
  if (context == nullptr || context->graphs.size() >= 6) return;
  GraphState graph;
  graph.name = source.one_in(16) ? std::string(context->graphs.empty() ? "" : context->graphs.back().name) : new_name("graph");
  const auto status = slot<abi::GraphCreateFn>(Slot::kGraphCreate)(maybe_wrong(context->handle, source), source.one_in(64) ? nullptr : graph.name.c_str(), nullptr, &graph.handle);
  if (status != 0) return;
  remember(graph.handle);
  context->graphs.push_back(std::move(graph));
}

void QnnMachine::free_context(ByteSource& source) {
  ContextState* context = pick_context(source);
  if (context == nullptr) return;
  const abi::ContextHandle handle = maybe_wrong(context->handle, source);
  if (slot<abi::ContextFreeFn>(Slot::kContextFree)(handle, maybe_profile(source)) != 0) return;
  std::erase_if(contexts_, [&](const ContextState& one) { return one.handle == handle; });
}

void QnnMachine::log_calls(ByteSource& source) {
  abi::LogHandle handle{};
  switch (source.below(4)) {
    case 0:
      if (logs_.size() < 3 && slot<abi::LogCreateFn>(Slot::kLogCreate)(source.one_in(8) ? nullptr : on_log, static_cast<uint32_t>(source.below(7)), &handle) == 0) logs_.push_back(remember(handle));
      break;
    case 1: slot<abi::LogSetLogLevelFn>(Slot::kLogSetLogLevel)(one_of(logs_, source), static_cast<uint32_t>(source.below(7))); break;
    case 2: free_one(logs_, source, [&](auto log) { return slot<abi::LogFreeFn>(Slot::kLogFree)(log); }); break;
    default: slot<abi::LogCreateFn>(Slot::kLogCreate)(on_log, 1, nullptr); break;
  }
}

void QnnMachine::device_calls(ByteSource& source) {
  abi::DeviceHandle handle{};
  abi::HtpDeviceCustomConfig custom{};
  custom.option = static_cast<abi::HtpDeviceOption>(source.below(4));
  custom.soc = source.word();
  abi::DeviceConfig config{};
  config.pointer = &custom;
  const abi::DeviceConfig* list[] = {&config, nullptr};
  switch (source.below(4)) {
    case 0: case 1:
      if (devices_.size() < 3 && slot<abi::DeviceCreateFn>(Slot::kDeviceCreate)(one_of(logs_, source), list, &handle) == 0) devices_.push_back(remember(handle));
      break;
    case 2: free_one(devices_, source, [&](auto device) { return slot<abi::DeviceFreeFn>(Slot::kDeviceFree)(device); }); break;
    default: {
      const abi::HtpInfrastructure* infrastructure = nullptr;
      slot<abi::DeviceGetInfrastructureFn>(Slot::kDeviceGetInfrastructure)(source.one_in(4) ? nullptr : &infrastructure);
      break;
    }
  }
}

void QnnMachine::profile_calls(ByteSource& source) {
  abi::ProfileHandle handle{};
  const uint64_t* ids = nullptr;
  const uint64_t* parts = nullptr;
  uint32_t count = 0, part_count = 0;
  switch (source.below(4)) {
    case 0:
      if (profiles_.size() < 3 && slot<abi::ProfileCreateFn>(Slot::kProfileCreate)(one_of(backends_, source), static_cast<uint32_t>(source.below(4)), &handle) == 0) profiles_.push_back(remember(handle));
      return;
    case 1: return free_one(profiles_, source, [&](auto profile) { return slot<abi::ProfileFreeFn>(Slot::kProfileFree)(profile); });
    default: break;
  }
  if (slot<abi::ProfileGetEventsFn>(Slot::kProfileGetEvents)(one_of(profiles_, source), &ids, &count) != 0) return;
  const auto data_of = [&](uint64_t id) {
    abi::EventData data{};
    if (slot<abi::ProfileGetEventDataFn>(Slot::kProfileGetEventData)(id, &data) == 0 && data.identifier != nullptr && std::strlen(data.identifier) > 1u << 16) fail("an event has an endless name");
  };
  for (uint32_t i = 0; i < count; ++i) {
    data_of(ids[i]);
    data_of(ids[i] ^ source.word());
    if (slot<abi::ProfileGetSubEventsFn>(Slot::kProfileGetSubEvents)(ids[i], &parts, &part_count) != 0) fail("an event has no list of parts");
    for (uint32_t k = 0; k < part_count; ++k) data_of(parts[k]);
  }
}

void QnnMachine::query_calls(ByteSource& source) {
  const bool null = source.one_in(8);
  abi::ApiVersion version{};
  const char* text = nullptr;
  uint32_t count = 0;
  const abi::OperationName* names = nullptr;
  slot<abi::PropertyHasCapabilityFn>(Slot::kPropertyHasCapability)(source.one_in(2) ? source.word() : static_cast<uint32_t>(100 * source.below(16) + source.below(30)));
  slot<abi::BackendGetApiVersionFn>(Slot::kBackendGetApiVersion)(null ? nullptr : &version);
  slot<abi::BackendGetBuildIdFn>(Slot::kBackendGetBuildId)(null ? nullptr : &text);
  slot<abi::BackendGetSupportedOperationsFn>(Slot::kBackendGetSupportedOperations)(one_of(backends_, source), null ? nullptr : &count, &names);
  slot<abi::BackendRegisterOpPackageFn>(Slot::kBackendRegisterOpPackage)(one_of(backends_, source), text, nullptr, text);
  slot<abi::ErrorGetMessageFn>(Slot::kErrorGetMessage)(source.one_in(2) ? source.word() : 1000 * source.below(9) + source.below(40), null ? nullptr : &text);
}

void QnnMachine::set_configs(ByteSource& source) {
  GraphState* graph = pick_graph(source);
  ContextState* context = pick_context(source);
  slot<abi::BackendSetConfigFn>(Slot::kBackendSetConfig)(one_of(backends_, source), nullptr);
  slot<abi::DeviceSetConfigFn>(Slot::kDeviceSetConfig)(one_of(devices_, source), nullptr);
  slot<abi::ProfileSetConfigFn>(Slot::kProfileSetConfig)(one_of(profiles_, source), nullptr);
  if (context != nullptr) slot<abi::ContextSetConfigFn>(Slot::kContextSetConfig)(maybe_wrong(context->handle, source), nullptr);
  if (graph == nullptr) return;
  slot<abi::GraphSetConfigFn>(Slot::kGraphSetConfig)(maybe_wrong(graph->handle, source), nullptr);
  abi::GraphHandle again{};
  const bool known = slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(maybe_wrong(context->handle, source), source.one_in(32) ? nullptr : graph->name.c_str(), &again) == 0;
  if (known) remember(again);
}

void QnnMachine::system_calls(std::span<const std::byte> binary) {
  abi::SystemContextHandle handle{};
  if (library_.system_slot<abi::SystemContextCreateFn>(abi::SystemSlot::kContextCreate)(&handle) != 0) fail("no system context");
  const abi::BinaryInfo* info = nullptr;
  uint64_t info_bytes = 0;
  std::vector<std::byte> copy(binary.begin(), binary.end());
  library_.system_slot<abi::SystemContextGetBinaryInfoFn>(abi::SystemSlot::kContextGetBinaryInfo)(handle, copy.data(), copy.size(), &info, &info_bytes);
  library_.system_slot<abi::SystemContextGetMetaDataFn>(abi::SystemSlot::kContextGetMetaData)(handle, binary.data(), binary.size(), &info);
  const auto free = library_.system_slot<abi::SystemContextFreeFn>(abi::SystemSlot::kContextFree);
  if (free(handle) != 0 || free(handle) == 0) fail("a system context is not freed exactly once");
}

void QnnMachine::at_once(ByteSource& source) {
  if (!source.one_in(8)) return;  // threads are slow
  ContextState* context = pick_context(source);
  GraphState* graph = pick_graph(source);
  if (context == nullptr || graph == nullptr) return;
  const bool frees = source.one_in(4);
  std::thread other([&, handle = graph->handle] {
    Buffers results;
    for (int i = 0; i < 3; ++i) call_execute(handle, *graph, nullptr, results);
  });
  Buffers results;
  call_execute(graph->handle, *graph, nullptr, results);
  if (frees) slot<abi::ContextFreeFn>(Slot::kContextFree)(context->handle, nullptr);
  profile_calls(source);
  other.join();
  if (frees) std::erase_if(contexts_, [&, handle = context->handle](const ContextState& one) { return one.handle == handle; });
}

}  // namespace lutra::fuzz
