// The table of the backend interface.
#include "hostnpu/calls.h"
#include "hostnpu/hostnpu.h"

namespace lutra::hostnpu {
namespace {

// Clients of later releases copy more slots than this one fills; what is not implemented is NULL, which the interface allows.
constexpr size_t kSlots = 96;
static_assert(kSlots >= abi::kSlotsOfNewestClients);
using Interface = abi::InterfaceOf<kSlots>;

Interface make_interface() noexcept {
  Interface out{};
  // The id of the HTP: clients take the whole path of an NPU for it.
  out.backend_id = abi::BackendId::kHtp;
  out.provider_name = kProviderName;
  out.core = kApiVersion.core;
  out.backend = kApiVersion.backend;
  add_backend_calls(out.table);
  add_context_calls(out.table);
  add_profile_calls(out.table);
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
