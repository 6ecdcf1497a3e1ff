// Properties, log, backend, device, errors.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <mutex>
#include <unordered_map>

#include "hostnpu/calls.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

// ------------------------------------------------------------------------------------------------------------ properties

/// Keys of the published interface, by group; what is in none of the two lists is unknown. The groups that every library has are no keys.
constexpr uint32_t kSupported[] = {
    107,                                     // graphs are composed here
    202, 205, 206, 210, 211, 212,            // context: binaries, configuration, enabled graphs, validation, signals while loading, lists of binaries
    302, 303, 304, 305, 307, 308, 309, 310,  // graph: configuration, signals, asynchronous execution, no inputs, signals of finalize, execute and executeAsync, bound profiles
    311, 313, 315, 316, 317, 322,            // execution, profiles of a call, profiling state, number of profiled executions, bound memory, graphs are prepared here
    502, 503, 509, 510, 511, 512, 514,       // tensor: registered memory, tensors of a context, SCALE_OFFSET, AXIS, BW, BW_AXIS, BLOCKWISE_EXPANSION
    1001, 1002,                              // error, with verbose messages
    1101, 1102, 1103, 1104,                  // memory: ION, CUSTOM, DMA_BUF
    1201, 1202, 1203,                        // signal: abort, timeout
    1301,                                    // log
    1401, 1403, 1404,                        // profile: limit of events, extended data
    1501,                                    // device
};
constexpr uint32_t kUnsupported[] = {
    105, 106, 108,                           // op packages, platform options, custom properties
    207, 208, 209,                           // context: memory limit, persistent binaries, compatibility (accepted, without effect)
    213, 214, 215, 216, 217, 218, 219,       // updates, sections, custom properties, incremental binaries, deferred graphs, partial updates
    306, 312, 314, 318, 319, 320, 321,       // graph: priority (accepted), batch multiples, subgraphs, buffers of the library, finalizing again, custom properties, early ends
    401, 402, 403, 404,                      // op packages
    504, 505, 506, 507, 508, 513, 515, 516,  // tensor: dynamic dimensions, sparsity, updates, BLOCK, VECTOR, deferred data
    517, 518, 519, 520, 521, 522, 523, 524,  // optional tensors, MX and UBWC formats
    1302,                                    // log without a callback (accepted, silent)
    1402, 1405,                              // profile: custom configuration, traces
    1502,                                    // device infrastructure
    2001, 2002,                              // custom
};

abi::Status property_has_capability(uint32_t key) {
  if (std::find(std::begin(kSupported), std::end(kSupported), key) != std::end(kSupported)) return abi::kSuccess;
  return std::find(std::begin(kUnsupported), std::end(kUnsupported), key) != std::end(kUnsupported) ? abi::kNotSupported : abi::kPropertyUnknownKey;
}

// --------------------------------------------------------------------------------------------------------------- backend

const BackendCustomConfig* find_custom_config(const abi::BackendConfig** list) noexcept {
  for (; list != nullptr && *list != nullptr; ++list) {
    const abi::BackendConfig& config = **list;
    if (config.option != abi::BackendOption::kCustom || config.const_pointer == nullptr) continue;
    // Custom configurations of other backends are larger than the magic, too.
    if (std::memcmp(config.const_pointer, kCustomConfigMagic, sizeof kCustomConfigMagic) == 0) return static_cast<const BackendCustomConfig*>(config.const_pointer);
  }
  return nullptr;
}

abi::Status backend_create(abi::LogHandle log_handle, const abi::BackendConfig** configs, abi::BackendHandle* out) {
  if (out == nullptr) return abi::kBackendInvalidArgument;
  const auto log = lookup<Log>(log_handle);
  if (log_handle != nullptr && log == nullptr) return abi::kBackendInvalidArgument;
  try {
    *out = publish<abi::BackendHandle>(std::make_shared<Backend>(log, find_custom_config(configs)));
    return abi::kSuccess;
  } catch (const std::bad_alloc&) {
    return abi::kMemAlloc;
  } catch (const std::exception& error) {
    if (log != nullptr) log->write(abi::LogLevel::kError, error.what());
    return abi::kBackendCannotInitialize;
  }
}

abi::Status backend_set_config(abi::BackendHandle handle, const abi::BackendConfig**) {
  return lookup<Backend>(handle) == nullptr ? abi::kBackendInvalidHandle : abi::kSuccess;
}

abi::Status backend_get_property(abi::BackendHandle handle, abi::Property** list) {
  return lookup<Backend>(handle) == nullptr ? static_cast<abi::Status>(abi::kBackendInvalidHandle) : get_properties(list, abi::kBackendInvalidArgument);
}

/// The only option, a SoC, is as welcome as that of a device.
abi::Status global_config_set(const abi::AnyConfig**) { return abi::kSuccess; }

abi::Status backend_get_api_version(abi::ApiVersion* out) {
  if (out == nullptr) return abi::kBackendInvalidArgument;
  *out = kApiVersion;
  return abi::kSuccess;
}

abi::Status backend_get_build_id(const char** out) {
  if (out == nullptr) return abi::kBackendInvalidArgument;
  *out = kBuildId;
  return abi::kSuccess;
}

abi::Status backend_register_op_package(abi::BackendHandle handle, const char*, const char*, const char*) {
  return lookup<Backend>(handle) == nullptr ? abi::kBackendInvalidHandle : abi::kNotSupported;
}

abi::Status backend_get_supported_operations(abi::BackendHandle handle, uint32_t* count, const abi::OperationName** out) {
  if (lookup<Backend>(handle) == nullptr) return abi::kBackendInvalidHandle;
  if (count == nullptr || out == nullptr) return abi::kBackendInvalidArgument;
  return guarded(nullptr, [&] {
    static const auto& names = *new const std::vector<abi::OperationName>([] {  // never destroyed: the caller keeps the pointer
      std::vector<abi::OperationName> list;
      for (const OpDefinition* op : op_definitions()) list.push_back({kOpPackage, op->type, "HOST"});
      return list;
    }());
    *count = static_cast<uint32_t>(names.size());
    *out = names.data();
  });
}

abi::Status backend_validate_op_config(abi::BackendHandle handle, abi::OpConfig config) {
  const auto backend = lookup<Backend>(handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  return guarded(backend.get(), [&] {
    backend->check(parse_node(config, [](const abi::Tensor& tensor) -> std::shared_ptr<const TensorInfo> {
      auto info = std::make_shared<TensorInfo>(parse_tensor(tensor));
      if (info->type == abi::TensorType::kNull) return nullptr;
      return info;
    }));
  });
}

abi::Status backend_free(abi::BackendHandle handle) { return release<Backend>(handle) == nullptr ? abi::kBackendInvalidHandle : abi::kSuccess; }

// ---------------------------------------------------------------------------------------------------------------- device

// What the platform calls hand out: one device with one core.
constexpr abi::CoreInfo kCore = {1, 0, 0, 0, nullptr};
constexpr abi::HardwareDevice kHardware = {1, 0, 0, 0, 1, &kCore, nullptr};
constexpr abi::PlatformInfo kPlatform = {1, 0, 1, &kHardware};

abi::Status device_get_platform_info(abi::LogHandle, const abi::PlatformInfo** out) {
  if (out == nullptr) return abi::kInvalidArgument;
  *out = &kPlatform;
  return abi::kSuccess;
}

abi::Status device_free_platform_info(abi::LogHandle, const abi::PlatformInfo* info) { return info == &kPlatform ? abi::kSuccess : abi::kInvalidArgument; }

/// Any SoC may be asked for: there is one kind of host.
abi::Status device_create(abi::LogHandle, const abi::DeviceConfig**, abi::DeviceHandle* out) {
  if (out == nullptr) return abi::kInvalidArgument;
  return guarded(nullptr, [&] { *out = publish<abi::DeviceHandle>(std::make_shared<Device>()); });
}

abi::Status device_set_config(abi::DeviceHandle handle, const abi::DeviceConfig**) { return lookup<Device>(handle) == nullptr ? abi::kDeviceInvalidHandle : abi::kSuccess; }

abi::Status device_get_info(abi::DeviceHandle handle, const abi::PlatformInfo** out) {
  if (lookup<Device>(handle) == nullptr) return abi::kDeviceInvalidHandle;
  return device_get_platform_info(nullptr, out);
}

abi::Status device_free(abi::DeviceHandle handle) { return release<Device>(handle) == nullptr ? abi::kDeviceInvalidHandle : abi::kSuccess; }

// ---------------------------------------------------------------------------------------------------------------- errors

abi::Status error_get_message(abi::Status error, const char** out) {
  if (out == nullptr) return abi::kErrorInvalidArgument;
  *out = error_message(error);
  return *out == nullptr ? abi::kErrorInvalidHandle : abi::kSuccess;
}

/// Texts that clients hold, so that one that was made up is not freed. Never destroyed, as the handles.
class Messages {
 public:
  const char* keep(std::string text) {
    auto message = std::make_unique<std::string>(std::move(text));
    const char* key = message->c_str();
    const std::lock_guard lock(mutex_);
    messages_.emplace(key, std::move(message));
    return key;
  }
  bool free(const char* key) noexcept {
    const std::lock_guard lock(mutex_);
    return messages_.erase(key) != 0;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<const char*, std::unique_ptr<std::string>> messages_;
};

Messages& messages() {
  static Messages& kept = *new Messages;
  return kept;
}

abi::Status error_get_verbose_message(abi::Status error, const char** out) {
  if (out == nullptr) return abi::kErrorInvalidArgument;
  *out = nullptr;
  try {
    std::string text = verbose_message(error);
    if (text.empty()) return abi::kErrorInvalidHandle;
    *out = messages().keep(std::move(text));
    return abi::kSuccess;
  } catch (const std::bad_alloc&) {
    return abi::kMemAlloc;
  }
}

abi::Status error_free_verbose_message(const char* text) { return messages().free(text) ? abi::kSuccess : abi::kErrorInvalidHandle; }

}  // namespace

abi::Status log_create(abi::LogCallback callback, uint32_t level, abi::LogHandle* out) {
  if (out == nullptr) return abi::kInvalidArgument;
  return guarded(nullptr, [&] { *out = publish<abi::LogHandle>(std::make_shared<Log>(callback, level)); });
}

abi::Status log_set_level(abi::LogHandle handle, uint32_t level) {
  const auto log = lookup<Log>(handle);
  if (log == nullptr) return abi::kInvalidArgument;
  log->set_level(level);
  return abi::kSuccess;
}

abi::Status log_free(abi::LogHandle handle) {
  const auto log = release<Log>(handle);
  if (log == nullptr) return abi::kInvalidArgument;
  log->close();
  return abi::kSuccess;
}

void add_backend_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  put<abi::PropertyHasCapabilityFn>(table, Slot::kPropertyHasCapability, property_has_capability);
  put<abi::LogCreateFn>(table, Slot::kLogCreate, log_create);
  put<abi::LogSetLogLevelFn>(table, Slot::kLogSetLogLevel, log_set_level);
  put<abi::LogFreeFn>(table, Slot::kLogFree, log_free);
  put<abi::BackendCreateFn>(table, Slot::kBackendCreate, backend_create);
  put<abi::BackendSetConfigFn>(table, Slot::kBackendSetConfig, backend_set_config);
  put<abi::BackendGetApiVersionFn>(table, Slot::kBackendGetApiVersion, backend_get_api_version);
  put<abi::BackendGetBuildIdFn>(table, Slot::kBackendGetBuildId, backend_get_build_id);
  put<abi::BackendRegisterOpPackageFn>(table, Slot::kBackendRegisterOpPackage, backend_register_op_package);
  put<abi::BackendGetSupportedOperationsFn>(table, Slot::kBackendGetSupportedOperations, backend_get_supported_operations);
  put<abi::BackendValidateOpConfigFn>(table, Slot::kBackendValidateOpConfig, backend_validate_op_config);
  put<abi::BackendFreeFn>(table, Slot::kBackendFree, backend_free);
  put(table, Slot::kDeviceGetPlatformInfo, device_get_platform_info);
  put(table, Slot::kDeviceFreePlatformInfo, device_free_platform_info);
  put<abi::DeviceGetInfrastructureFn>(table, Slot::kDeviceGetInfrastructure, device_get_infrastructure);
  put<abi::DeviceCreateFn>(table, Slot::kDeviceCreate, device_create);
  put<abi::DeviceSetConfigFn>(table, Slot::kDeviceSetConfig, device_set_config);
  put(table, Slot::kDeviceGetInfo, device_get_info);
  put<abi::DeviceFreeFn>(table, Slot::kDeviceFree, device_free);
  put<abi::ErrorGetMessageFn>(table, Slot::kErrorGetMessage, error_get_message);
  put<abi::ErrorGetMessageFn>(table, Slot::kErrorGetVerboseMessage, error_get_verbose_message);
  put<abi::ErrorFreeVerboseMessageFn>(table, Slot::kErrorFreeVerboseMessage, error_free_verbose_message);
  put<abi::BackendGetPropertyFn>(table, Slot::kBackendGetProperty, backend_get_property);
  put<abi::GlobalConfigSetFn>(table, Slot::kGlobalConfigSet, global_config_set);
}

}  // namespace lutra::hostnpu
