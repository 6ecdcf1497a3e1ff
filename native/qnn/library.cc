#include "qnn/library.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <shared_mutex>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "qnn/adsp_path.h"
#include "qnn/status.h"
#include "qnn/stdout_guard.h"

namespace lutra::qnn {
namespace {

constexpr const char* kWhichLibrary = "give the path of libQnnHtp.so of QAIRT 2.36 or later, or use the host NPU";

template <class Function>
void take(const abi::QnnInterface& provider, abi::Slot slot, Function& out) noexcept {
  out = reinterpret_cast<Function>(provider.table[static_cast<size_t>(slot)]);
}

template <class Function>
void need(const abi::QnnInterface& provider, abi::Slot slot, const char* name, Function& out, std::string& missing) {
  take(provider, slot, out);
  if (out == nullptr) missing.append(missing.empty() ? "" : ", ").append(name);
}

Api read_table(const abi::QnnInterface& p, const std::string& source) {
  using abi::Slot;
  Api api{};
  std::string missing;
  need(p, Slot::kBackendCreate, "backendCreate", api.backend_create, missing);
  need(p, Slot::kBackendValidateOpConfig, "backendValidateOpConfig", api.backend_validate_op_config, missing);
  need(p, Slot::kBackendFree, "backendFree", api.backend_free, missing);
  need(p, Slot::kContextCreate, "contextCreate", api.context_create, missing);
  need(p, Slot::kContextFree, "contextFree", api.context_free, missing);
  need(p, Slot::kGraphCreate, "graphCreate", api.graph_create, missing);
  need(p, Slot::kGraphAddNode, "graphAddNode", api.graph_add_node, missing);
  need(p, Slot::kGraphFinalize, "graphFinalize", api.graph_finalize, missing);
  need(p, Slot::kGraphExecute, "graphExecute", api.graph_execute, missing);
  need(p, Slot::kTensorCreateGraphTensor, "tensorCreateGraphTensor", api.tensor_create_graph_tensor, missing);
  if (!missing.empty()) {
    throw Error(ErrorCode::kNotQnn, "'" + source + "' leaves entries of the QNN function table empty that lutra needs: " + missing, kWhichLibrary);
  }
  take(p, Slot::kBackendGetBuildId, api.backend_get_build_id);
  take(p, Slot::kBackendGetSupportedOperations, api.backend_get_supported_operations);
  take(p, Slot::kContextGetBinarySize, api.context_get_binary_size);
  take(p, Slot::kContextGetBinary, api.context_get_binary);
  take(p, Slot::kContextCreateFromBinary, api.context_create_from_binary);
  take(p, Slot::kGraphRetrieve, api.graph_retrieve);
  take(p, Slot::kLogCreate, api.log_create);
  take(p, Slot::kLogFree, api.log_free);
  take(p, Slot::kProfileCreate, api.profile_create);
  take(p, Slot::kProfileGetEvents, api.profile_get_events);
  take(p, Slot::kProfileGetSubEvents, api.profile_get_sub_events);
  take(p, Slot::kProfileGetEventData, api.profile_get_event_data);
  take(p, Slot::kProfileFree, api.profile_free);
  take(p, Slot::kDeviceGetPlatformInfo, api.device_get_platform_info);
  take(p, Slot::kDeviceFreePlatformInfo, api.device_free_platform_info);
  take(p, Slot::kDeviceGetInfrastructure, api.device_get_infrastructure);
  take(p, Slot::kDeviceCreate, api.device_create);
  take(p, Slot::kDeviceFree, api.device_free);
  return api;
}

std::atomic<bool>& exiting() noexcept {
  static std::atomic<bool> flag{false};
  return flag;
}

// Longer than any execution takes; a compilation may be cut off.
constexpr std::chrono::seconds kExitPatience{2};

/// Shared by calls, taken whole by the first exit handler and never given back. Not destroyed, since threads may wait for it to the last.
std::shared_timed_mutex& call_gate() {
  static auto& gate = *new std::shared_timed_mutex;
  return gate;
}

bool version_accepted(const abi::Version& core) noexcept { return core.major == Library::kMajor && core.minor >= Library::kMinimumMinor; }

/// The first provider of an accepted version. Nothing beyond the version may be read of another one, since its table differs.
const abi::QnnInterface& choose(abi::GetProvidersFn get_providers, const std::string& source) {
  const abi::QnnInterface** providers = nullptr;
  uint32_t count = 0;
  const abi::Status status = get_providers(&providers, &count);
  if (status != 0) {
    throw Error(ErrorCode::kNotQnn, "'" + source + "' does not list its QNN providers: error " + describe_status(status), kWhichLibrary);
  }
  std::string seen;
  for (uint32_t i = 0; providers != nullptr && i < count; ++i) {
    if (providers[i] == nullptr) continue;
    if (version_accepted(providers[i]->core)) return *providers[i];
    seen.append(seen.empty() ? "" : ", ").append(to_string(providers[i]->core));
  }
  if (seen.empty()) throw Error(ErrorCode::kNotQnn, "'" + source + "' offers no QNN provider", kWhichLibrary);
  throw Error(ErrorCode::kQnnVersion,
              "'" + source + "' speaks version " + seen + " of the QNN interface; lutra needs major version " + std::to_string(Library::kMajor) +
                  " and a minor version of " + std::to_string(Library::kMinimumMinor) + " or more",
              kWhichLibrary);
}

/// Loads the C++ runtime that lies beside `path`, lowest layer first, so that a library without a usable RPATH finds it by its soname.
void preload_cxx_runtime(const std::string& path) {
  std::error_code code;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::absolute(path, code).parent_path(), code)) {
    files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  for (const std::string_view prefix : {"libunwind", "libc++abi", "libc++"}) {
    for (const std::string& file : files) {
      const std::string name = std::filesystem::path(file).filename().string();
      if (!name.starts_with(prefix) || name.find(".so") == std::string::npos || (prefix == "libc++" && name.starts_with("libc++abi"))) continue;
      try {
        const DynamicLibrary runtime(file);
      } catch (const Error&) {
        // Not usable here: the second attempt to open the library says what is missing.
      }
    }
  }
}

DynamicLibrary open_file(const std::string& path) {
  try {
    return DynamicLibrary(path);
  } catch (const Error&) {
    std::error_code code;
    if (!std::filesystem::is_regular_file(path, code)) throw;
    preload_cxx_runtime(path);
    return DynamicLibrary(path);
  }
}

}  // namespace

void watch_exit() {
  exiting();
  call_gate();
  std::atexit([] {
    if (!exiting().exchange(true, std::memory_order_acq_rel)) static_cast<void>(call_gate().try_lock_for(kExitPatience));
  });
}

CallGuard::CallGuard() { call_gate().lock_shared(); }
CallGuard::~CallGuard() { call_gate().unlock_shared(); }

bool process_exiting() noexcept { return exiting().load(std::memory_order_acquire); }

std::string to_string(const abi::Version& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

Library::Library(abi::GetProvidersFn get_providers, const std::string& source) {
  const abi::QnnInterface& provider = choose(get_providers, source);
  api_ = read_table(provider, source);
  info_.source = source;
  info_.provider = provider.provider_name == nullptr ? "" : provider.provider_name;
  info_.backend_id = provider.backend_id;
  info_.core = provider.core;
  info_.backend = provider.backend;
  const char* build_id = nullptr;
  if (api_.backend_get_build_id != nullptr && api_.backend_get_build_id(&build_id) == 0 && build_id != nullptr) info_.build_id = build_id;
}

std::shared_ptr<const Library> Library::open(const std::string& path, const OpenOptions& options) {
  const StdoutGuard guard(options.quiet_stdout);
  set_adsp_path(path);
  DynamicLibrary file = open_file(path);
  watch_exit();
  auto* get_providers = file.function<std::remove_pointer_t<abi::GetProvidersFn>>(abi::kGetProvidersSymbol);
  if (get_providers == nullptr) {
    throw Error(ErrorCode::kNotQnn, "'" + file.path() + "' is not a QNN backend library: it has no " + abi::kGetProvidersSymbol, kWhichLibrary);
  }
  auto library = std::shared_ptr<Library>(new Library(get_providers, file.path()));
  library->file_ = std::move(file);
  return library;
}

std::shared_ptr<const Library> Library::embedded(abi::GetProvidersFn get_providers, const std::string& name) {
  if (get_providers == nullptr) throw Error(ErrorCode::kInvalidArgument, "the embedded QNN library '" + name + "' has no entry point");
  watch_exit();
  return std::shared_ptr<Library>(new Library(get_providers, name));
}

}  // namespace lutra::qnn
