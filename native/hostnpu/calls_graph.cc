// Graphs, their tensors and their executions.
#include "hostnpu/calls.h"
#include "hostnpu/encoding.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxTensors = 1u << 16;  // of one execution

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

abi::Status graph_create(abi::ContextHandle handle, const char* name, const abi::GraphConfig** configs, abi::GraphHandle* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kGraphInvalidArgument;
  if (name == nullptr) return abi::kGraphInvalidName;
  return guarded(&context->backend(), [&] {
    const GraphSettings settings = read_settings(configs);
    const auto lock = context->building();
    const auto graph = context->create_graph(name, settings);
    *out = context->handle_of(graph);
  });
}

abi::Status graph_set_config(abi::GraphHandle handle, const abi::GraphConfig** configs) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  return guarded(&at.context->backend(), [&] { at.graph->apply(read_settings(configs)); });
}

abi::Status graph_get_property(abi::GraphHandle handle, abi::Property** list) {
  return target(handle).context == nullptr ? static_cast<abi::Status>(abi::kGraphInvalidHandle) : get_properties(list, abi::kGraphInvalidArgument);
}

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
    const auto lock = at.context->building();
    at.graph->add_node(parse_node(config, [&](const abi::Tensor& tensor) { return resolve(tensor, at); }), at.context->backend());
  });
}

abi::Status graph_finalize(abi::GraphHandle handle, abi::ProfileHandle profile_handle, abi::SignalHandle signal) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  return guarded(&at.context->backend(), [&] {
    const auto profile = at.graph->profile_of_call(optional_profile(profile_handle), false);
    const auto watch = optional_watch(signal, Watch::Call::kGraph);
    const auto lock = at.context->building();
    at.graph->finalize(*at.context, profile.get(), watch.get());
  });
}

abi::Status graph_retrieve(abi::ContextHandle handle, const char* name, abi::GraphHandle* out) {
  const auto context = lookup<Context>(handle);
  if (context == nullptr) return abi::kContextInvalidHandle;
  if (out == nullptr) return abi::kGraphInvalidArgument;
  if (name == nullptr) return abi::kGraphInvalidName;
  return guarded(&context->backend(), [&] {
    const auto lock = context->building();
    const auto graph = context->find_graph(name);
    if (graph == nullptr && context->is_disabled(name)) throw Failure(abi::kGraphDisabled, "graph '" + std::string(name) + "' was left out when the context was made from its binary");
    if (graph == nullptr) throw Failure(abi::kGraphInvalidName, "the context has no graph '" + std::string(name) + "'");
    *out = context->handle_of(graph);
  });
}

/// Registered memory is bound at every execution anyway; buffers of the library's own there are none.
abi::Status graph_execution_environment(abi::GraphHandle handle, const abi::ExecutionEnvironment** list, uint32_t count) {
  if (target(handle).context == nullptr) return abi::kGraphInvalidHandle;
  if ((list == nullptr && count != 0) || count > kMaxTensors) return abi::kGraphInvalidArgument;
  for (uint32_t i = 0; i < count; ++i) {
    if (list[i] == nullptr) return abi::kGraphInvalidArgument;
    if (list[i]->option != abi::EnvironmentOption::kBindMemHandles) return abi::kNotSupported;
  }
  return abi::kSuccess;
}

// ------------------------------------------------------------------------------------------------------------- execution

bool lists_are_wrong(const abi::Tensor* inputs, uint32_t input_count, const abi::Tensor* outputs, uint32_t output_count) {
  return (inputs == nullptr && input_count != 0) || (outputs == nullptr && output_count != 0) || input_count > kMaxTensors || output_count > kMaxTensors;
}

abi::Status graph_execute(abi::GraphHandle handle, const abi::Tensor* inputs, uint32_t input_count, abi::Tensor* outputs, uint32_t output_count, abi::ProfileHandle profile_handle,
                          abi::SignalHandle signal) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  if (lists_are_wrong(inputs, input_count, outputs, output_count)) return abi::kGraphInvalidArgument;
  return guarded(&at.context->backend(), [&] {
    Execution execution = at.graph->bind(*at.context, {inputs, input_count}, {outputs, output_count});
    execution.watch = optional_watch(signal, Watch::Call::kGraph);
    execution.profile = at.graph->profile_of_call(optional_profile(profile_handle), true);
    const Context::Run run(*at.context);
    at.graph->execute(*at.context, run.arena(), execution);
  });
}

abi::Status graph_execute_async(abi::GraphHandle handle, const abi::Tensor* inputs, uint32_t input_count, abi::Tensor* outputs, uint32_t output_count,
                                abi::ProfileHandle profile_handle, abi::SignalHandle signal, abi::NotifyFn notify, void* parameter) {
  const Target at = target(handle);
  if (at.context == nullptr) return abi::kGraphInvalidHandle;
  if (lists_are_wrong(inputs, input_count, outputs, output_count)) return abi::kGraphInvalidArgument;
  return guarded(&at.context->backend(), [&] {
    // Everything that can be wrong with the call is found before it is queued; the client may reuse its structures, though not its buffers.
    const auto execution = std::make_shared<Execution>(at.graph->bind(*at.context, {inputs, input_count}, {outputs, output_count}));
    execution->watch = optional_watch(signal, Watch::Call::kQueuedGraph);
    execution->profile = at.graph->profile_of_call(optional_profile(profile_handle), true);
    const auto work = [at, execution](Turns::Ticket ticket, bool cancelled) {
      return guarded(&at.context->backend(), [&] {
        const Context::Run run(*at.context, ticket);
        if (cancelled) throw Failure(abi::kGraphAborted, "the context of graph '" + at.graph->name() + "' was freed before its execution began");
        at.graph->execute(*at.context, run.arena(), *execution);
      });
    };
    at.context->queue().add({work, notify, parameter});
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
    const auto lock = context->building();
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
    const auto lock = at.context->building();
    made->id = at.context->new_id();
    at.graph->add_tensor(made);
    tensor->v1.id = made->id;
  });
}

}  // namespace

void add_graph_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  put<abi::GraphCreateFn>(table, Slot::kGraphCreate, graph_create);
  put<abi::GraphSetConfigFn>(table, Slot::kGraphSetConfig, graph_set_config);
  put<abi::GraphGetPropertyFn>(table, Slot::kGraphGetProperty, graph_get_property);
  put<abi::GraphAddNodeFn>(table, Slot::kGraphAddNode, graph_add_node);
  put<abi::GraphFinalizeFn>(table, Slot::kGraphFinalize, graph_finalize);
  put<abi::GraphRetrieveFn>(table, Slot::kGraphRetrieve, graph_retrieve);
  put<abi::GraphExecutionEnvironmentFn>(table, Slot::kGraphPrepareExecutionEnvironment, graph_execution_environment);
  put<abi::GraphExecutionEnvironmentFn>(table, Slot::kGraphReleaseExecutionEnvironment, graph_execution_environment);
  put<abi::GraphExecuteFn>(table, Slot::kGraphExecute, graph_execute);
  put<abi::GraphExecuteAsyncFn>(table, Slot::kGraphExecuteAsync, graph_execute_async);
  put<abi::TensorCreateContextTensorFn>(table, Slot::kTensorCreateContextTensor, tensor_create_context_tensor);
  put<abi::TensorCreateGraphTensorFn>(table, Slot::kTensorCreateGraphTensor, tensor_create_graph_tensor);
}

}  // namespace lutra::hostnpu
