// A QNN library and its checked function table.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/dynamic_library.h"
#include "qnn/abi.h"

namespace lutra::qnn {

/// Typed entries of the function table that lutra calls. Those of the first group are never null; the others may be, and the classes that use
/// them say what they do then.
struct Api {
  abi::BackendCreateFn backend_create;
  abi::BackendValidateOpConfigFn backend_validate_op_config;
  abi::BackendFreeFn backend_free;
  abi::ContextCreateFn context_create;
  abi::ContextFreeFn context_free;
  abi::GraphCreateFn graph_create;
  abi::GraphAddNodeFn graph_add_node;
  abi::GraphFinalizeFn graph_finalize;
  abi::GraphExecuteFn graph_execute;
  abi::TensorCreateGraphTensorFn tensor_create_graph_tensor;

  abi::BackendGetBuildIdFn backend_get_build_id;
  abi::BackendGetSupportedOperationsFn backend_get_supported_operations;
  abi::ContextGetBinarySizeFn context_get_binary_size;
  abi::ContextGetBinaryFn context_get_binary;
  abi::ContextCreateFromBinaryFn context_create_from_binary;
  abi::GraphRetrieveFn graph_retrieve;
  abi::LogCreateFn log_create;
  abi::LogFreeFn log_free;
  abi::ProfileCreateFn profile_create;
  abi::ProfileGetEventsFn profile_get_events;
  abi::ProfileGetSubEventsFn profile_get_sub_events;
  abi::ProfileGetEventDataFn profile_get_event_data;
  abi::ProfileFreeFn profile_free;
  abi::DeviceGetPlatformInfoFn device_get_platform_info;
  abi::DeviceFreePlatformInfoFn device_free_platform_info;
  abi::DeviceGetInfrastructureFn device_get_infrastructure;
  abi::DeviceCreateFn device_create;
  abi::DeviceFreeFn device_free;
};

struct LibraryInfo {
  std::string source;    // absolute path, or the name given to Library::embedded
  std::string provider;  // "HTP_QTI_AISW"
  abi::BackendId backend_id = abi::BackendId::kNull;
  abi::Version core{};     // version of the interface
  abi::Version backend{};  // version of the backend; Qualcomm's HTP: 5.<release>
  std::string build_id;    // "" when the library does not tell
};

/// True once the process runs its exit handlers. A library that was opened has torn itself down by then, or is about to, so handles that still
/// live are left to the system instead of being freed.
bool process_exiting() noexcept;

/// Makes the end of the process wait for calls under way. Exit handlers run last in, first out, and libraries register their own when they first need something: to be called
/// again after every call that may have been the first of its kind.
void watch_exit();

/// Held around every call that may run on another thread than the main one: the process's exit handlers wait up to two seconds for those that have begun, since the library
/// goes away under them. A guard that is made after that waits for ever, which is until the process has ended. Not to be nested.
class CallGuard {
 public:
  CallGuard();
  ~CallGuard();
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;
};

/// "2.40.0".
std::string to_string(const abi::Version& version);

struct OpenOptions {
  bool quiet_stdout = false;  // see StdoutGuard
};

/// A loaded library. Once loaded it stays in the process: these libraries do not survive being unmapped. Immutable, so usable from every thread.
class Library {
 public:
  /// Oldest minor version of interface 2 whose function table has today's order.
  static constexpr uint32_t kMajor = 2;
  static constexpr uint32_t kMinimumMinor = 27;

  /// Opens the library file `path`. Libraries that it needs are found by its own RPATH; when that fails, the C++ runtime (libunwind, libc++abi, libc++) that
  /// lies beside it is loaded first. Before that, the DSP is told where its part of the library lies (adsp_path.h). Throws Error: kLibraryNotFound (missing, or cannot be loaded), kNotQnn (no entry point, no provider, an
  /// entry that lutra needs is missing), kQnnVersion (all providers have another major version or a minor one below 27).
  static std::shared_ptr<const Library> open(const std::string& path, const OpenOptions& options = {});

  /// A library that is linked into this process; `name` stands for the path in messages. Throws as open does.
  static std::shared_ptr<const Library> embedded(abi::GetProvidersFn get_providers, const std::string& name);

  const Api& api() const noexcept { return api_; }
  const LibraryInfo& info() const noexcept { return info_; }

 private:
  Library(abi::GetProvidersFn get_providers, const std::string& source);

  std::optional<DynamicLibrary> file_;
  Api api_{};
  LibraryInfo info_;
};

}  // namespace lutra::qnn
