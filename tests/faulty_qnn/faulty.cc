// libQnnFaulty: a QNN library that does what another one does, until it is told to misbehave.
//
// It opens the library that its configuration names (the host NPU), copies the interface table and puts itself between. Which calls fail, hang, crash or compute nonsense
// is read from <its own path>.fault (faults.h has the commands), so that copies of the file under different names are different libraries in one
// process. Calls are counted in <its own path>.state. Built on the C interface alone, as any other QNN library.
#include <dlfcn.h>

#include <atomic>
#include <cstdarg>
#include <cstring>
#include <map>
#include <memory>
#include <thread>

#include "faults.h"

namespace faulty {
namespace {

using abi::Slot;
using abi::Status;

abi::AnyFunction inner_table[kSlots] = {};

template <Slot S, class Function>
Function inner() {
  return reinterpret_cast<Function>(inner_table[static_cast<size_t>(S)]);
}

// ------------------------------------------------------------------------------------------------- what is wrong with results

void spoil(const abi::Tensor& tensor, Wrong how, uint32_t& state) {
  auto* bytes = static_cast<uint8_t*>(tensor.v1.client.data);
  const size_t size = tensor.v1.client.size;
  const bool half = tensor.v1.dtype == abi::DataType::kFloat16, single = tensor.v1.dtype == abi::DataType::kFloat32;
  for (size_t i = 0; i < size; ++i) {
    state = state * 1664525u + 1013904223u;
    switch (how) {
      case Wrong::kNoise: bytes[i] = static_cast<uint8_t>(state >> 24) & (half || single ? 0xBF : 0xFF); break;
      case Wrong::kZeros: bytes[i] = 0; break;
      case Wrong::kNan: bytes[i] = half ? (i % 2 == 0 ? 0x00 : 0x7E) : single ? (i % 4 == 3 ? 0x7F : 0xC0) : 0xFF; break;
      case Wrong::kShift: bytes[i] = i + 1 < size ? bytes[i + 1] : bytes[i]; break;  // every value one place off, or worse
      case Wrong::kStale: break;
    }
  }
}

/// The data of S8 constants with zeros in the first half; kept, since the library copies it during the call only.
struct Damaged {
  explicit Damaged(abi::Tensor* tensor) : tensor_(tensor), original_(tensor->v1.client) {
    const auto* from = static_cast<const uint8_t*>(original_.data);
    copy_.assign(from, from + original_.size);
    std::memset(copy_.data(), 0, copy_.size() / 2);
    tensor_->v1.client.data = copy_.data();
  }
  ~Damaged() { tensor_->v1.client = original_; }

  abi::Tensor* tensor_;
  abi::ClientBuffer original_;
  std::vector<uint8_t> copy_;
};

// ----------------------------------------------------------------------------------------------------------- floods of the log

struct Flood {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
};

void log_line(abi::LogCallback callback, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  callback(format, static_cast<uint32_t>(abi::LogLevel::kError), 0, arguments);
  va_end(arguments);
}

std::mutex floods_mutex;
std::map<abi::LogHandle, std::unique_ptr<Flood>> floods;

void begin_flood(abi::LogHandle log, abi::LogCallback callback, uint32_t threads) {
  auto flood = std::make_unique<Flood>();
  for (uint32_t t = 0; t < threads; ++t) {
    flood->threads.emplace_back([raw = flood.get(), callback, t] {
      const std::string long_line(5000, 'x');
      for (uint64_t i = 0; !raw->stop; ++i) log_line(callback, i % 64 == 0 ? "thread %u, line %llu, %s\n" : "thread %u, line %llu\n", t, static_cast<unsigned long long>(i), long_line.c_str());
    });
  }
  const std::lock_guard lock(floods_mutex);
  floods[log] = std::move(flood);
}

void end_flood(abi::LogHandle log) {
  std::unique_ptr<Flood> flood;
  {
    const std::lock_guard lock(floods_mutex);
    const auto found = floods.find(log);
    if (found == floods.end()) return;
    flood = std::move(found->second);
    floods.erase(found);
  }
  flood->stop = true;
  for (std::thread& thread : flood->threads) thread.join();
}

// -------------------------------------------------------------------------------------------------------------- the wrapped calls

/// The call itself; overloads below add what particular slots do wrong.
template <Slot S>
struct Behaviour {
  template <class Function, class... Arguments>
  static Status run(Function function, Arguments... arguments) {
    return function(arguments...);
  }
};

template <>
struct Behaviour<Slot::kGraphExecute> {
  static Status run(abi::GraphExecuteFn function, abi::GraphHandle graph, const abi::Tensor* in, uint32_t in_count, abi::Tensor* out, uint32_t out_count, abi::ProfileHandle profile,
                    abi::SignalHandle signal) {
    const std::optional<Wrong> wrong = Control::get().wrong();
    if (wrong == Wrong::kStale) return 0;
    const Status status = function(graph, in, in_count, out, out_count, profile, signal);
    static std::atomic<uint32_t> executions{1};
    uint32_t state = executions++;
    for (uint32_t i = 0; wrong && i < out_count; ++i) spoil(out[i], *wrong, state);
    return status;
  }
};

template <>
struct Behaviour<Slot::kGraphAddNode> {
  static Status run(abi::GraphAddNodeFn function, abi::GraphHandle graph, abi::OpConfig op) {
    const Config config = Control::get().config();
    if (!config.op.empty() && config.op == op.type) op.type = config.instead.c_str();
    return function(graph, op);
  }
};

template <>
struct Behaviour<Slot::kTensorCreateGraphTensor> {
  static Status run(abi::TensorCreateGraphTensorFn function, abi::GraphHandle graph, abi::Tensor* tensor) {
    const bool weight = tensor->v1.type == abi::TensorType::kStatic && tensor->v1.dtype == abi::DataType::kSfixed8;
    if (!weight || !Control::get().config().damaged_weights) return function(graph, tensor);
    const Damaged damaged(tensor);
    return function(graph, tensor);
  }
};

template <>
struct Behaviour<Slot::kContextGetBinarySize> {
  static Status run(abi::ContextGetBinarySizeFn function, abi::ContextHandle context, uint64_t* size) {
    const Status status = function(context, size);
    if (status == 0 && Control::get().config().short_binary) *size = *size / 2;
    return status;
  }
};

template <>
struct Behaviour<Slot::kContextGetBinary> {
  static Status run(abi::ContextGetBinaryFn function, abi::ContextHandle context, void* buffer, uint64_t size, uint64_t* written) {
    const Config config = Control::get().config();
    if (config.short_binary) {
      // Claims success for half of a binary.
      uint64_t whole = 0;
      inner<Slot::kContextGetBinarySize, abi::ContextGetBinarySizeFn>()(context, &whole);
      std::vector<uint8_t> all(whole);
      const Status status = function(context, all.data(), whole, written);
      *written = std::min(*written, size);
      std::memcpy(buffer, all.data(), *written);
      return status;
    }
    const Status status = function(context, buffer, size, written);
    auto* bytes = static_cast<uint8_t*>(buffer);
    for (uint64_t i = 0; status == 0 && config.corrupt_binary && i < *written; i += 97) bytes[i] ^= 0x55;
    return status;
  }
};

template <>
struct Behaviour<Slot::kBackendGetBuildId> {
  static Status run(abi::BackendGetBuildIdFn function, const char** id) {
    const Config config = Control::get().config();
    static const std::string& build = *new std::string(config.build);
    const Status status = function(id);
    if (!build.empty()) *id = build.c_str();
    if (config.garbage_build) *id = reinterpret_cast<const char*>(uintptr_t{0x10});
    return status;
  }
};

template <>
struct Behaviour<Slot::kLogCreate> {
  static Status run(abi::LogCreateFn function, abi::LogCallback callback, uint32_t level, abi::LogHandle* log) {
    const Status status = function(callback, level, log);
    if (const uint32_t threads = Control::get().config().flood_threads; status == 0 && threads > 0) begin_flood(*log, callback, threads);
    return status;
  }
};

template <>
struct Behaviour<Slot::kLogFree> {
  static Status run(abi::LogFreeFn function, abi::LogHandle log) {
    end_flood(log);
    return function(log);
  }
};

constexpr bool frees(Slot slot) {
  return slot == Slot::kBackendFree || slot == Slot::kContextFree || slot == Slot::kDeviceFree || slot == Slot::kLogFree || slot == Slot::kProfileFree;
}

template <Slot S, class Function>
struct Wrap;
template <Slot S, class... Arguments>
struct Wrap<S, Status (*)(Arguments...)> {
  static Status call(Arguments... arguments) {
    Control& control = Control::get();
    Status status = 0;
    if (control.strikes(static_cast<size_t>(S), status)) {
      // What is not freed behind a failing call would look like a leak of the client.
      if constexpr (frees(S)) Behaviour<S>::run(inner<S, Status (*)(Arguments...)>(), arguments...);
      return status;
    }
    status = Behaviour<S>::run(inner<S, Status (*)(Arguments...)>(), arguments...);
    if (status == 0) control.succeeded(static_cast<size_t>(S));
    return status;
  }
};

template <Slot S, class Function>
void wrap(abi::AnyFunction* table) {
  abi::AnyFunction& entry = table[static_cast<size_t>(S)];
  if (entry != nullptr) entry = reinterpret_cast<abi::AnyFunction>(&Wrap<S, Function>::call);
}

void wrap_all(abi::AnyFunction* table) {
  wrap<Slot::kBackendCreate, abi::BackendCreateFn>(table);
  wrap<Slot::kBackendGetBuildId, abi::BackendGetBuildIdFn>(table);
  wrap<Slot::kBackendGetSupportedOperations, abi::BackendGetSupportedOperationsFn>(table);
  wrap<Slot::kBackendValidateOpConfig, abi::BackendValidateOpConfigFn>(table);
  wrap<Slot::kBackendFree, abi::BackendFreeFn>(table);
  wrap<Slot::kContextCreate, abi::ContextCreateFn>(table);
  wrap<Slot::kContextGetBinarySize, abi::ContextGetBinarySizeFn>(table);
  wrap<Slot::kContextGetBinary, abi::ContextGetBinaryFn>(table);
  wrap<Slot::kContextCreateFromBinary, abi::ContextCreateFromBinaryFn>(table);
  wrap<Slot::kContextFree, abi::ContextFreeFn>(table);
  wrap<Slot::kGraphCreate, abi::GraphCreateFn>(table);
  wrap<Slot::kGraphAddNode, abi::GraphAddNodeFn>(table);
  wrap<Slot::kGraphFinalize, abi::GraphFinalizeFn>(table);
  wrap<Slot::kGraphRetrieve, abi::GraphRetrieveFn>(table);
  wrap<Slot::kGraphExecute, abi::GraphExecuteFn>(table);
  wrap<Slot::kTensorCreateGraphTensor, abi::TensorCreateGraphTensorFn>(table);
  wrap<Slot::kLogCreate, abi::LogCreateFn>(table);
  wrap<Slot::kLogFree, abi::LogFreeFn>(table);
  wrap<Slot::kProfileCreate, abi::ProfileCreateFn>(table);
  wrap<Slot::kProfileGetEvents, abi::ProfileGetEventsFn>(table);
  wrap<Slot::kProfileGetSubEvents, abi::ProfileGetSubEventsFn>(table);
  wrap<Slot::kProfileGetEventData, abi::ProfileGetEventDataFn>(table);
  wrap<Slot::kProfileFree, abi::ProfileFreeFn>(table);
  wrap<Slot::kDeviceGetInfrastructure, abi::DeviceGetInfrastructureFn>(table);
  wrap<Slot::kDeviceCreate, abi::DeviceCreateFn>(table);
  wrap<Slot::kDeviceFree, abi::DeviceFreeFn>(table);
}

using Interface = abi::InterfaceOf<kSlots>;

/// The inner library's interface with the configured faults. 0 on success.
Status build_interface(Interface& out, const Config& config) {
  if (!config.error.empty()) return abi::kInvalidArgument;
  void* library = dlopen(config.inner.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return abi::kLoadingBinaries;
  const auto get = reinterpret_cast<abi::GetProvidersFn>(dlsym(library, abi::kGetProvidersSymbol));
  const abi::QnnInterface** list = nullptr;
  uint32_t count = 0;
  if (get == nullptr || get(&list, &count) != 0 || count == 0) return abi::kGeneral;
  std::memcpy(static_cast<void*>(&out), list[0], sizeof out);
  std::memcpy(inner_table, out.table, sizeof inner_table);
  wrap_all(out.table);
  static const std::string& provider = *new std::string(config.provider);
  if (!provider.empty()) out.provider_name = provider.c_str();
  if (config.garbage_provider) out.provider_name = reinterpret_cast<const char*>(uintptr_t{0x10});
  if (config.has_version) out.core = {config.major, config.minor, 0};
  for (const size_t slot : config.null_slots) out.table[slot] = nullptr;
  return 0;
}

}  // namespace
}  // namespace faulty

extern "C" __attribute__((visibility("default"))) lutra::qnn::abi::Status QnnInterface_getProviders(const lutra::qnn::abi::QnnInterface*** providers, uint32_t* count) {
  using namespace faulty;
  static Interface interface{};
  static const abi::QnnInterface* list[] = {reinterpret_cast<const abi::QnnInterface*>(&interface), nullptr};
  const Config config = Control::get().config();
  if (const Status status = build_interface(interface, config); status != 0) return status;
  *providers = list;
  *count = config.has_providers ? config.providers : 1;
  return 0;
}
