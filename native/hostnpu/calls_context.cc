// Contexts, graphs, tensors, execution.
#include <chrono>
#include <cstring>

#include "hostnpu/binary.h"
#include "hostnpu/calls.h"
#include "hostnpu/context.h"
#include "hostnpu/encoding.h"

namespace lutra::hostnpu {
namespace {

using Clock = std::chrono::steady_clock;
constexpr uint32_t kMaxTensors = 1u << 16;  // of one execution

uint64_t microseconds_since(Clock::time_point start) { return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count()); }

/// NULL is no profile; a handle that is none is refused.
std::shared_ptr<Profile> optional_profile(abi::ProfileHandle handle) {
  if (handle == nullptr) return nullptr;
  auto profile = lookup<Profile>(handle);
  if (profile == nullptr) throw Failure(abi::kInvalidArgument, "the profile handle is not valid");
  return profile;
}

// --------------------------------------------------------------------------------------------------------------- context

bool device_is_wrong(abi::DeviceHandle device) { return device != nullptr && lookup<Device>(device) == nullptr; }

abi::Status context_create(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig**, abi::ContextHandle* out) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (out == nullptr) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] { *out = publish<abi::ContextHandle>(std::make_shared<Context>(backend)); });
}

abi::Status context_set_config(abi::ContextHandle handle, const abi::ContextConfig**) { return lookup<Context>(handle) == nullptr ? abi::kContextInvalidHandle : abi::kSuccess; }

abi::Status context_get_binary_size(abi::ContextHandle handle, uint64_t* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kContextInvalidArgument;
  return guarded(&context->backend(), [&] {
    const std::lock_guard lock(context->build_mutex());
    *out = write_binary(*context, {});
  });
}

abi::Status context_get_binary(abi::ContextHandle handle, void* buffer, uint64_t size, uint64_t* written) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (buffer == nullptr || size == 0 || written == nullptr) return abi::kContextInvalidArgument;
  return guarded(&context->backend(), [&] {
    const std::lock_guard lock(context->build_mutex());
    *written = write_binary(*context, {static_cast<std::byte*>(buffer), size});
  });
}

abi::Status context_create_from_binary(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig**, const void* binary, uint64_t size,
                                       abi::ContextHandle* out, abi::ProfileHandle profile_handle) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (out == nullptr || binary == nullptr || size == 0) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] {
    const auto profile = optional_profile(profile_handle);
    const auto start = Clock::now();
    const auto context = restore_context({static_cast<const std::byte*>(binary), size}, backend);
    if (profile != nullptr) profile->record(abi::ProfileEventType::kInit, "context", microseconds_since(start), {});
    *out = publish<abi::ContextHandle>(context);
  });
}

abi::Status context_validate_binary(abi::BackendHandle backend_handle, abi::DeviceHandle device, const abi::ContextConfig**, const void* binary, uint64_t size) {
  const auto backend = lookup<Backend>(backend_handle);
  if (backend == nullptr) return abi::kBackendInvalidHandle;
  if (device_is_wrong(device)) return abi::kDeviceInvalidHandle;
  if (binary == nullptr || size == 0) return abi::kContextInvalidArgument;
  return guarded(backend.get(), [&] { read_binary({static_cast<const std::byte*>(binary), size}); });
}

abi::Status context_free(abi::ContextHandle handle, abi::ProfileHandle) {
  const auto context = release<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  const std::lock_guard lock(context->build_mutex());
  context->revoke_handles();
  return abi::kSuccess;
}

// ----------------------------------------------------------------------------------------------------------------- graph

/// A graph with its context, or none of both when either is gone.
struct Target {
  std::shared_ptr<Graph> graph;
  std::shared_ptr<Context> context;
};
Target target(abi::GraphHandle handle) {
  Target out{lookup<Graph>(handle), nullptr};
  if (out.graph != nullptr) out.context = out.graph->context();
  return out;
}

abi::Status graph_create(abi::ContextHandle handle, const char* name, const abi::GraphConfig**, abi::GraphHandle* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kGraphInvalidArgument;
  if (name == nullptr) return abi::kGraphInvalidName;
  return guarded(&context->backend(), [&] {
    const std::lock_guard lock(context->build_mutex());
    *out = context->handle_of(context->create_graph(name));
  });
}

abi::Status graph_set_config(abi::GraphHandle handle, const abi::GraphConfig**) { return target(handle).context == nullptr ? abi::kGraphInvalidHandle : abi::kSuccess; }

/// The tensor of a node's structure: by id among the graph's and the context's.
std::shared_ptr<const TensorInfo> resolve(const abi::Tensor& tensor, const Target& at) {
  if (tensor.version != 1 && tensor.version != 2) throw Failure(abi::kGraphInvalidTensor, "a tensor structure has version " + std::to_string(tensor.version));
  if (tensor.v1.type == abi::TensorType::kNull) return nullptr;
  auto known = at.graph->tensor(tensor.v1.id);
  if (known == nullptr) known = at.context->tensor(tensor.v1.id);
  if (known == nullptr) {
    throw Failure(abi::kGraphInvalidTensor, "a node uses tensor '" + std::string(tensor.v1.name == nullptr ? "" : tensor.v1.name) + "' with id " + std::to_string(tensor.v1.id) +
                                                ", which graph '" + at.graph->name() + "' does not have");
  }
  return known;
}

abi::Status graph_add_node(abi::GraphHandle handle, abi::OpConfig config) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  return guarded(&at.context->backend(), [&] {
    const std::lock_guard lock(at.context->build_mutex());
    at.graph->add_node(parse_node(config, [&](const abi::Tensor& tensor) { return resolve(tensor, at); }), at.context->backend());
  });
}

abi::Status graph_finalize(abi::GraphHandle handle, abi::ProfileHandle profile_handle, abi::SignalHandle) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  return guarded(&at.context->backend(), [&] {
    const auto profile = optional_profile(profile_handle);
    const std::lock_guard lock(at.context->build_mutex());
    const auto start = Clock::now();
    at.graph->finalize(at.context->backend(), *at.context);
    if (profile != nullptr) profile->record(abi::ProfileEventType::kFinalize, at.graph->name(), microseconds_since(start), {});
  });
}

abi::Status graph_retrieve(abi::ContextHandle handle, const char* name, abi::GraphHandle* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kGraphInvalidArgument;
  if (name == nullptr) return abi::kGraphInvalidName;
  return guarded(&context->backend(), [&] {
    const std::lock_guard lock(context->build_mutex());
    const auto graph = context->find_graph(name);
    if (graph == nullptr) throw Failure(abi::kGraphInvalidName, "the context has no graph '" + std::string(name) + "'");
    *out = context->handle_of(graph);
  });
}

abi::Status graph_execute(abi::GraphHandle handle, const abi::Tensor* inputs, uint32_t input_count, abi::Tensor* outputs, uint32_t output_count, abi::ProfileHandle profile_handle,
                          abi::SignalHandle) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  const bool lists_are_wrong = (inputs == nullptr && input_count != 0) || (outputs == nullptr && output_count != 0) || input_count > kMaxTensors || output_count > kMaxTensors;
  if (lists_are_wrong) return abi::kGraphInvalidArgument;
  return guarded(&at.context->backend(), [&] {
    const auto profile = optional_profile(profile_handle);
    at.graph->execute(*at.context, {inputs, input_count}, {outputs, output_count}, profile.get());
  });
}

// --------------------------------------------------------------------------------------------------------------- tensors

std::shared_ptr<TensorInfo> make_tensor(abi::Tensor& tensor) {
  auto info = std::make_shared<TensorInfo>(parse_tensor(tensor));
  if (info->type == abi::TensorType::kNull) throw Failure(abi::kTensorUnsupportedParam, "a tensor of type NULL is not created");
  if (info->is_static()) info->data = make_static(tensor.v1.quantize, *info, static_bytes(tensor, *info));
  return info;
}

abi::Status tensor_create_context_tensor(abi::ContextHandle handle, abi::Tensor* tensor) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (tensor == nullptr) return abi::kTensorInvalidParam;
  return guarded(&context->backend(), [&] {
    const auto made = make_tensor(*tensor);
    const std::lock_guard lock(context->build_mutex());
    made->id = context->new_id();
    context->add_tensor(made);
    tensor->v1.id = made->id;
  });
}

abi::Status tensor_create_graph_tensor(abi::GraphHandle handle, abi::Tensor* tensor) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  if (tensor == nullptr) return abi::kTensorInvalidParam;
  return guarded(&at.context->backend(), [&] {
    const auto made = make_tensor(*tensor);
    const std::lock_guard lock(at.context->build_mutex());
    made->id = at.context->new_id();
    at.graph->add_tensor(made);
    tensor->v1.id = made->id;
  });
}

}  // namespace

void add_context_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  put<abi::ContextCreateFn>(table, Slot::kContextCreate, context_create);
  put<abi::ContextSetConfigFn>(table, Slot::kContextSetConfig, context_set_config);
  put<abi::ContextGetBinarySizeFn>(table, Slot::kContextGetBinarySize, context_get_binary_size);
  put<abi::ContextGetBinaryFn>(table, Slot::kContextGetBinary, context_get_binary);
  put<abi::ContextCreateFromBinaryFn>(table, Slot::kContextCreateFromBinary, context_create_from_binary);
  put<abi::ContextValidateBinaryFn>(table, Slot::kContextValidateBinary, context_validate_binary);
  put<abi::ContextFreeFn>(table, Slot::kContextFree, context_free);
  put<abi::GraphCreateFn>(table, Slot::kGraphCreate, graph_create);
  put<abi::GraphSetConfigFn>(table, Slot::kGraphSetConfig, graph_set_config);
  put<abi::GraphAddNodeFn>(table, Slot::kGraphAddNode, graph_add_node);
  put<abi::GraphFinalizeFn>(table, Slot::kGraphFinalize, graph_finalize);
  put<abi::GraphRetrieveFn>(table, Slot::kGraphRetrieve, graph_retrieve);
  put<abi::GraphExecuteFn>(table, Slot::kGraphExecute, graph_execute);
  put<abi::TensorCreateContextTensorFn>(table, Slot::kTensorCreateContextTensor, tensor_create_context_tensor);
  put<abi::TensorCreateGraphTensorFn>(table, Slot::kTensorCreateGraphTensor, tensor_create_graph_tensor);
}

}  // namespace lutra::hostnpu
