// The table of the backend interface.
#include "hostnpu/calls.h"
#include "hostnpu/hostnpu.h"

namespace lutra::hostnpu {
namespace {

// Clients of later releases copy more slots than the interface had when this was written; those beyond are NULL.
constexpr size_t kSlots = 96;
static_assert(kSlots >= abi::kSlotsOfNewestClients);
using Interface = abi::InterfaceOf<kSlots>;

/// What the properties say that there is not: subgraphs, tensors that change after finalize, and parts of context binaries. Not NULL, because not every client looks.
void add_unsupported_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  using abi::ContextHandle;
  using abi::GraphHandle;
  put<Function<GraphHandle, const char*, GraphHandle*>>(table, Slot::kGraphCreateSubgraph, Unsupported());
  put<Function<GraphHandle, const abi::Tensor**, uint64_t>>(table, Slot::kTensorUpdateGraphTensors, Unsupported());
  put<Function<ContextHandle, const abi::Tensor**, uint64_t>>(table, Slot::kTensorUpdateContextTensors, Unsupported());
  put<Function<ContextHandle, GraphHandle, uint32_t, uint64_t*>>(table, Slot::kContextGetBinarySectionSize, Unsupported());
  put<Function<ContextHandle, GraphHandle, uint32_t, const void*, uint64_t*, abi::ProfileHandle, abi::SignalHandle>>(table, Slot::kContextGetBinarySection, Unsupported());
  put<Function<ContextHandle, GraphHandle, uint32_t, const void*, abi::ProfileHandle, abi::SignalHandle>>(table, Slot::kContextApplyBinarySection, Unsupported());
  put<Function<ContextHandle, const void**, uint64_t*, uint64_t*>>(table, Slot::kContextGetIncrementalBinary, Unsupported());
  put<Function<ContextHandle, const void*, uint64_t>>(table, Slot::kContextReleaseIncrementalBinary, Unsupported());
}

Interface make_interface() noexcept {
  Interface out{};
  // The id of the HTP: clients take the whole path of an NPU for it.
  out.backend_id = abi::BackendId::kHtp;
  out.provider_name = kProviderName;
  out.core = kApiVersion.core;
  out.backend = kApiVersion.backend;
  add_backend_calls(out.table);
  add_context_calls(out.table);
  add_graph_calls(out.table);
  add_memory_calls(out.table);
  add_signal_calls(out.table);
  add_profile_calls(out.table);
  add_unsupported_calls(out.table);
  return out;
}

}  // namespace

abi::Status get_providers(const abi::QnnInterface*** providers, uint32_t* count) noexcept {
  if (providers == nullptr || count == nullptr) return abi::kInvalidArgument;
  static const Interface interface = make_interface();
  static const abi::QnnInterface* list[] = {reinterpret_cast<const abi::QnnInterface*>(&interface)};
  *providers = list;
  *count = 1;
  return abi::kSuccess;
}

}  // namespace lutra::hostnpu

extern "C" __attribute__((visibility("default"))) lutra::qnn::abi::Status QnnInterface_getProviders(const lutra::qnn::abi::QnnInterface*** providers, uint32_t* count) {
  return lutra::hostnpu::get_providers(providers, count);
}
