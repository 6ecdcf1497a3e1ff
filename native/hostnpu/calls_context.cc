// Contexts and their binaries.
#include "hostnpu/binary.h"
#include "hostnpu/calls.h"

namespace lutra::hostnpu {
namespace {

using Clock = std::chrono::steady_clock;

void record_time(Profile* profile, abi::ProfileEventType type, Clock::time_point start) {
  if (profile == nullptr) return;
  const auto time = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start);
  profile->record(std::vector{ProfileEvent(type, abi::ProfileUnit::kMicroseconds, static_cast<uint64_t>(time.count()), "context")});
}

bool device_is_wrong(abi::DeviceHandle device) { return device != nullptr && lookup<Device>(device) == nullptr; }

abi::Status context_create(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig** configs, abi::ContextHandle* out) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (out == nullptr) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] {
    ContextSettings settings;
    read_settings(configs, settings);
    const auto context = std::make_shared<Context>(backend);
    context->apply(settings);
    *out = publish<abi::ContextHandle>(context);
  });
}

abi::Status context_set_config(abi::ContextHandle handle, const abi::ContextConfig** configs) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  return guarded(&context->backend(), [&] {
    ContextSettings settings;
    read_settings(configs, settings);
    if (settings.graphs) throw Failure(abi::kContextInvalidConfig, "graphs are enabled when a context is made from a binary, not later");
    context->apply(settings);
  });
}

abi::Status context_get_property(abi::ContextHandle handle, abi::Property** list) {
  return lookup<Context>(handle) == nullptr ? static_cast<abi::Status>(abi::kContextInvalidHandle) : get_properties(list, abi::kContextInvalidArgument);
}

abi::Status context_get_binary_size(abi::ContextHandle handle, uint64_t* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kContextInvalidArgument;
  return guarded(&context->backend(), [&] {
    const auto lock = context->building();
    *out = write_binary(*context, {});
  });
}

abi::Status context_get_binary(abi::ContextHandle handle, void* buffer, uint64_t size, uint64_t* written) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (buffer == nullptr || size == 0 || written == nullptr) return abi::kContextInvalidArgument;
  return guarded(&context->backend(), [&] {
    const auto lock = context->building();
    *written = write_binary(*context, {static_cast<std::byte*>(buffer), size});
  });
}

abi::Status context_create_from_binary_with_signal(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig** configs, const void* binary,
                                                   uint64_t size, abi::ContextHandle* out, abi::ProfileHandle profile_handle, abi::SignalHandle signal) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (out == nullptr || binary == nullptr || size == 0) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] {
    const auto profile = optional_profile(profile_handle);
    const auto watch = optional_watch(signal, Watch::Call::kContext);
    const auto start = Clock::now();
    ContextSettings settings;
    read_settings(configs, settings);
    const auto context = restore_context({static_cast<const std::byte*>(binary), size}, backend, settings, watch.get());
    record_time(profile.get(), abi::ProfileEventType::kInit, start);
    *out = publish<abi::ContextHandle>(context);
  });
}

abi::Status context_create_from_binary(abi::BackendHandle backend, abi::DeviceHandle device, const abi::ContextConfig** configs, const void* binary, uint64_t size,
                                       abi::ContextHandle* out, abi::ProfileHandle profile) {
  return context_create_from_binary_with_signal(backend, device, configs, binary, size, out, profile, nullptr);
}

/// The callback would hand out parts of the binary as DMA buffers; the binary in memory serves as well.
abi::Status context_create_from_binary_with_callback(abi::BackendHandle backend, abi::DeviceHandle device, const abi::ContextConfig** configs, const void*, const void* binary,
                                                     uint64_t size, abi::ContextHandle* out, abi::ProfileHandle profile, abi::SignalHandle signal) {
  return context_create_from_binary_with_signal(backend, device, configs, binary, size, out, profile, signal);
}

/// One binary of a list. Tells of its graphs, then of the context.
void create_listed(const std::shared_ptr<Backend>& backend, const abi::ContextParams& params, const abi::ContextConfig** common, const Watch* watch) {
  const auto profile = optional_profile(params.profile);
  const auto start = Clock::now();
  ContextSettings settings;
  read_settings(common, settings);
  read_settings(params.configs, settings);
  const auto context = restore_context({static_cast<const std::byte*>(params.binary), params.size}, backend, settings, watch);
  record_time(profile.get(), abi::ProfileEventType::kInit, start);
  std::vector<std::pair<std::string, abi::GraphHandle>> graphs;
  {
    const auto lock = context->building();
    for (const auto& graph : context->graphs()) graphs.emplace_back(graph->name(), context->handle_of(graph));
  }
  const auto handle = publish<abi::ContextHandle>(context);
  for (const auto& [name, graph] : graphs) params.notify(nullptr, graph, name.c_str(), abi::ContextNotifyType::kGraph, params.parameter, abi::kSuccess);
  params.notify(handle, nullptr, nullptr, abi::ContextNotifyType::kContext, params.parameter, abi::kSuccess);
}

/// Everything has happened when the call returns, all notifications included: clients use the contexts right after it.
abi::Status context_create_from_binary_list(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextParams** list, const abi::ContextConfig** common,
                                            abi::SignalHandle signal) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (list == nullptr || *list == nullptr) return abi::kContextInvalidArgument;
  for (const auto* at = list; *at != nullptr; ++at) {
    if ((*at)->version != 1) return abi::kNotSupported;
    if ((*at)->binary == nullptr || (*at)->size == 0 || (*at)->notify == nullptr) return abi::kContextInvalidArgument;
  }
  abi::Status result = abi::kSuccess;
  const abi::Status begun = guarded(backend.get(), [&] {
    const auto watch = optional_watch(signal, Watch::Call::kContext);
    for (const auto* at = list; *at != nullptr; ++at) {
      const abi::Status status = guarded(backend.get(), [&] { create_listed(backend, **at, common, watch.get()); });
      if (status == abi::kSuccess) continue;
      (*at)->notify(nullptr, nullptr, nullptr, abi::ContextNotifyType::kContext, (*at)->parameter, status);
      if (result == abi::kSuccess) result = status;
    }
  });
  return begun == abi::kSuccess ? result : begun;
}

abi::Status context_validate_binary(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig**, const void* binary, uint64_t size) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (binary == nullptr || size == 0) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] { read_binary({static_cast<const std::byte*>(binary), size}); });
}

/// Contexts are complete when they are made: nothing is deferred.
abi::Status context_finalize(abi::ContextHandle handle, abi::ProfileHandle profile_handle) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  return guarded(&context->backend(), [&] { optional_profile(profile_handle); });
}

abi::Status context_free(abi::ContextHandle handle, abi::ProfileHandle profile_handle) {
  const auto start = Clock::now();
  const auto context = release<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  context->close();
  const auto profile = lookup<Profile>(profile_handle);
  return guarded(nullptr, [&] { record_time(profile.get(), abi::ProfileEventType::kDeinit, start); });
}

}  // namespace

void add_context_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  put<abi::ContextCreateFn>(table, Slot::kContextCreate, context_create);
  put<abi::ContextSetConfigFn>(table, Slot::kContextSetConfig, context_set_config);
  put<abi::ContextGetPropertyFn>(table, Slot::kContextGetProperty, context_get_property);
  put<abi::ContextGetBinarySizeFn>(table, Slot::kContextGetBinarySize, context_get_binary_size);
  put<abi::ContextGetBinaryFn>(table, Slot::kContextGetBinary, context_get_binary);
  put<abi::ContextCreateFromBinaryFn>(table, Slot::kContextCreateFromBinary, context_create_from_binary);
  put<abi::ContextCreateFromBinaryWithSignalFn>(table, Slot::kContextCreateFromBinaryWithSignal, context_create_from_binary_with_signal);
  put<abi::ContextCreateFromBinaryWithCallbackFn>(table, Slot::kContextCreateFromBinaryWithCallback, context_create_from_binary_with_callback);
  put<abi::ContextCreateFromBinaryListAsyncFn>(table, Slot::kContextCreateFromBinaryListAsync, context_create_from_binary_list);
  put<abi::ContextValidateBinaryFn>(table, Slot::kContextValidateBinary, context_validate_binary);
  put<abi::ContextFinalizeFn>(table, Slot::kContextFinalize, context_finalize);
  put<abi::ContextFreeFn>(table, Slot::kContextFree, context_free);
}

}  // namespace lutra::hostnpu
