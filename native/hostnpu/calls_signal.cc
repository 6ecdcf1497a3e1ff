// Signals.
#include "hostnpu/calls.h"

namespace lutra::hostnpu {
namespace {

abi::Status signal_create(abi::BackendHandle backend_handle, const abi::SignalConfig** configs, abi::SignalHandle* out) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (out == nullptr) return abi::kSignalInvalidArgument;
  return guarded(backend.get(), [&] {
    const auto signal = std::make_shared<Signal>();
    signal->configure(configs);
    *out = publish<abi::SignalHandle>(signal);
  });
}

abi::Status signal_set_config(abi::SignalHandle handle, const abi::SignalConfig** configs) {
  const auto signal = lookup<Signal>(handle);
  if (signal == nullptr) return abi::kSignalInvalidHandle;
  return guarded(nullptr, [&] { signal->configure(configs); });
}

abi::Status signal_trigger(abi::SignalHandle handle) {
  const auto signal = lookup<Signal>(handle);
  if (signal == nullptr) return abi::kSignalInvalidHandle;
  return guarded(nullptr, [&] { signal->trigger(); });
}

abi::Status signal_free(abi::SignalHandle handle) {
  const auto signal = lookup<Signal>(handle);
  if (signal == nullptr) return abi::kSignalInvalidHandle;
  if (signal->in_use()) return abi::kSignalInUse;
  return release<Signal>(handle) == nullptr ? abi::kSignalInvalidHandle : abi::kSuccess;
}

}  // namespace

std::shared_ptr<Watch> optional_watch(abi::SignalHandle handle, Watch::Call call) {
  if (handle == nullptr) return nullptr;
  auto signal = lookup<Signal>(handle);
  if (signal == nullptr) throw Failure(abi::kSignalInvalidHandle, "the signal handle is not valid");
  return std::make_shared<Watch>(std::move(signal), call);
}

void add_signal_calls(abi::AnyFunction* table) noexcept {
  put<abi::SignalCreateFn>(table, abi::Slot::kSignalCreate, signal_create);
  put<abi::SignalSetConfigFn>(table, abi::Slot::kSignalSetConfig, signal_set_config);
  put<abi::SignalTriggerFn>(table, abi::Slot::kSignalTrigger, signal_trigger);
  put<abi::SignalFreeFn>(table, abi::Slot::kSignalFree, signal_free);
}

}  // namespace lutra::hostnpu
