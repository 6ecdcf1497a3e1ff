// The host NPU: a QNN backend that computes on the processor it runs on, with the quantised arithmetic of Hexagon.
//
// It is reached through the QNN C interface only: `QnnInterface_getProviders` of the shared library libQnnHost, or get_providers() below for
// a program that has the same objects linked in. Behaviour beyond the published interface is confined to BackendCustomConfig.
#pragma once

#include <cstdint>

#include "qnn/abi_system.h"

namespace lutra::hostnpu {

inline constexpr const char* kProviderName = "LUTRA_HOST";
inline constexpr const char* kSystemProviderName = "LUTRA_HOST_SYSTEM";

/// The list of providers (one entry, static). Same meaning as QnnInterface_getProviders; the table is longer than the type says:
/// NULL-padded to at least abi::kSlotsOfNewestClients entries.
qnn::abi::Status get_providers(const qnn::abi::QnnInterface*** providers, uint32_t* count) noexcept;

/// The same for the system interface (metadata of context binaries).
qnn::abi::Status get_system_providers(const qnn::abi::SystemInterface*** providers, uint32_t* count) noexcept;

/// What clients asked of the performance infrastructure in this process, for tests and measurements.
struct PowerState {
  uint64_t created = 0, destroyed = 0;  // power configurations
  uint64_t set = 0;                     // settings that were accepted
  uint32_t corner = 0;                  // highest corner of the processor that a live configuration asks for
};
PowerState power_state() noexcept;

inline constexpr char kCustomConfigMagic[8] = {'L', 'U', 'T', 'R', 'A', 'N', 'P', 'U'};

/// Custom backend configuration (abi::BackendOption::kCustom, `pointer` to this), read during backendCreate. It lends the embedding
/// program's thread pool, so that two pools do not fight for the cores. Custom configurations with another magic are ignored.
struct BackendCustomConfig {
  char magic[8];           // kCustomConfigMagic
  uint32_t threads;        // threads that work together, the caller included. 0: as many as the machine has (own pool only)
  void* pool_context;      // handed to `run`; must outlive the backend
  /// Runs task(context, i) for every i < tasks and returns when all are done (lutra::ThreadPool::run_erased). NULL: the backend makes an own
  /// pool of `threads` threads when it first computes.
  void (*run)(void* pool_context, uint32_t tasks, void (*task)(void* context, uint32_t index), void* context);
};

}  // namespace lutra::hostnpu
