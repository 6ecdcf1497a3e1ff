// Contexts, graphs and their execution.
#include <cstring>
#include <functional>
#include <utility>

#include "napi/arguments.h"
#include "napi/qnn_api.h"
#include "napi/qnn_values.h"

namespace lutra::addon {
namespace {

std::shared_ptr<ContextCore> context_of(const Napi::CallbackInfo& info) { return unwrap_as<ContextHandle>(info[0], "context")->get(); }
std::shared_ptr<BuilderCore> builder_of(const Napi::CallbackInfo& info) { return unwrap_as<BuilderHandle>(info[0], "graph builder")->get(); }

/// Undefined or null: none.
std::shared_ptr<ProfileCore> optional_profile(const Napi::Value& value) {
  if (value.IsUndefined() || value.IsNull()) return nullptr;
  return unwrap_as<ProfileHandle>(value, "profile")->get();
}

/// Holds a profile for the time of a call.
class ProfileUse {
 public:
  explicit ProfileUse(ProfileCore* core) : core_(core) {
    if (core_ != nullptr) lock_ = std::unique_lock(core_->mutex);
  }
  const qnn::Profile* get() const noexcept { return core_ == nullptr ? nullptr : &core_->profile; }

 private:
  ProfileCore* core_;
  std::unique_lock<std::mutex> lock_;
};

/// Counts a call in the background from its submission to its end, whether it ran or not.
template <class Counter>
std::shared_ptr<void> counted(const std::shared_ptr<Counter>& owner, std::atomic<uint32_t> Counter::* count) {
  if (owner == nullptr) return nullptr;
  ++((*owner).*count);
  return std::shared_ptr<void>(nullptr, [owner, count](void*) { --((*owner).*count); });
}

Napi::Object graph_object(Napi::Env env, const std::shared_ptr<ContextCore>& context, qnn::Graph graph) {
  return wrap(env, std::make_shared<GraphHandle>(std::make_shared<GraphCore>(context, std::move(graph))));
}

// -------------------------------------------------------------------------------------------------------------- contexts

Napi::Value create_context(const Napi::CallbackInfo& info, Environment&) {
  const auto device = unwrap_as<DeviceHandle>(info[0], "device")->get();
  return wrap(info.Env(), std::make_shared<ContextHandle>(std::make_shared<ContextCore>(qnn::Context::create(device)), "context"));
}

Napi::Value context_from_binary(const Napi::CallbackInfo& info, Environment&) {
  const auto device = unwrap_as<DeviceHandle>(info[0], "device")->get();
  const auto bytes = array_bytes(info[1], "the context binary");
  if (bytes.empty()) throw Error(ErrorCode::kBadFile, "the context binary is empty");
  return wrap(info.Env(), std::make_shared<ContextHandle>(std::make_shared<ContextCore>(qnn::Context::from_binary(device, bytes)), "context"));
}

Napi::Value context_binary(const Napi::CallbackInfo& info, Environment&) {
  const auto context = context_of(info);
  const auto lock = context->exclusive();
  const std::vector<std::byte> bytes = context->context->binary();
  auto out = Napi::Uint8Array::New(info.Env(), bytes.size());
  if (!bytes.empty()) std::memcpy(out.Data(), bytes.data(), bytes.size());
  return out;
}

// -------------------------------------------------------------------------------------------------------------- building

Napi::Value create_graph(const Napi::CallbackInfo& info, Environment&) {
  const auto context = context_of(info);
  const std::string name = checked_name(info[1], "the graph's name");
  const qnn::GraphOptions options = graph_options(Arguments(info).object(2));
  const auto lock = context->exclusive();
  return wrap(info.Env(), std::make_shared<BuilderHandle>(std::make_shared<BuilderCore>(context, name, options), "graph builder"));
}

Napi::Value add_tensor(const Napi::CallbackInfo& info, Environment&) {
  const auto core = builder_of(info);
  const Napi::Object o = Arguments(info).object(1);
  qnn::TensorDesc desc = tensor_desc(o);
  const std::string role = string(o, "role");
  const auto lock = core->context->exclusive();
  qnn::TensorRef ref;
  if (role == "input") {
    ref = core->builder.input(desc);
  } else if (role == "output") {
    ref = core->builder.output(desc);
  } else if (role == "internal") {
    ref = core->builder.internal(desc);
  } else if (role == "constant") {
    // A copy: JavaScript may change or detach the array before the graph is finalized.
    const auto data = array_bytes(o.Get("data"), "the data of tensor '" + desc.name + "'");
    core->constants.emplace_back(data.begin(), data.end());
    desc.data = core->constants.back();
    ref = core->builder.constant(desc);
  } else {
    throw Error(ErrorCode::kInvalidArgument, "tensor '" + desc.name + "' has role '" + role + "'");
  }
  return Napi::Number::New(info.Env(), ref.index);
}

Napi::Value validate_node(const Napi::CallbackInfo& info, Environment&) {
  const auto core = builder_of(info);
  const qnn::NodeDesc desc = node_desc(Arguments(info).object(1));
  const auto lock = core->context->exclusive();
  core->builder.validate(desc);
  return info.Env().Undefined();
}

Napi::Value add_node(const Napi::CallbackInfo& info, Environment&) {
  const auto core = builder_of(info);
  const qnn::NodeDesc desc = node_desc(Arguments(info).object(1));
  const auto lock = core->context->exclusive();
  core->builder.node(desc);
  return info.Env().Undefined();
}

Napi::Value finalize(const Napi::CallbackInfo& info, Environment&) {
  const auto handle = unwrap_as<BuilderHandle>(info[0], "graph builder");
  const auto core = handle->get();
  const auto profile = optional_profile(info[1]);
  if (profile != nullptr && profile->pending > 0) throw Error(ErrorCode::kBusy, "the profile is in use by a call under way", "await it first");
  const auto lock = core->context->exclusive();
  const ProfileUse use(profile.get());
  qnn::Graph graph = core->builder.finalize(use.get());
  handle->dispose();  // and with it the copies of the constants
  return graph_object(info.Env(), core->context, std::move(graph));
}

Napi::Value finalize_async(const Napi::CallbackInfo& info, Environment& environment) {
  const auto handle = unwrap_as<BuilderHandle>(info[0], "graph builder");
  auto core = handle->get();
  const auto profile = optional_profile(info[1]);
  { const auto lock = core->context->exclusive(); }  // LUTRA_BUSY rather than a queue of compilations
  auto finalizing = counted(core->context, &ContextCore::finalizing);
  auto profiling = counted(profile, &ProfileCore::pending);
  handle->dispose();  // nothing can be added any more
  const auto runner = Runner::create(info.Env(), environment);
  return runner->run(info.Env(), [core = std::move(core), profile, finalizing = std::move(finalizing), profiling = std::move(profiling)]() mutable -> Runner::Finish {
    std::shared_ptr<qnn::Graph> graph;
    {
      const std::unique_lock lock(core->context->mutex);
      const ProfileUse use(profile.get());
      graph = std::make_shared<qnn::Graph>(core->builder.finalize(use.get()));
    }
    auto context = core->context;
    // Before the promise settles, so that what comes after it finds the context free.
    core.reset();
    finalizing.reset();
    profiling.reset();
    return [context, graph](Napi::Env env) -> Napi::Value { return graph_object(env, context, std::move(*graph)); };
  });
}

// ------------------------------------------------------------------------------------------------------------- executing

Napi::Value graph_ids(const Napi::CallbackInfo& info, Environment&) {
  const qnn::GraphIds ids = unwrap_as<GraphHandle>(info[0], "graph")->get()->graph.ids();
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("inputs", numbers(info.Env(), ids.inputs));
  o.Set("outputs", numbers(info.Env(), ids.outputs));
  return o;
}

Napi::Value retrieve_graph(const Napi::CallbackInfo& info, Environment&) {
  const auto context = context_of(info);
  const Napi::Object o = Arguments(info).object(1);
  qnn::GraphIds ids{checked_name(o.Get("name"), "the graph's name"), {}, {}};
  const auto read = [&o](const char* name, std::vector<uint32_t>& numbers_of) {
    std::vector<qnn::TensorDesc> descs;
    const Napi::Value list = o.Get(name);
    if (!list.IsArray()) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is not an array");
    const auto array = list.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
      const Napi::Value one = array.Get(i);
      if (!one.IsObject()) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " holds something that is not an object");
      descs.push_back(tensor_desc(one.As<Napi::Object>()));
      numbers_of.push_back(u32(one.As<Napi::Object>(), "id"));
    }
    return descs;
  };
  const auto inputs = read("inputs", ids.inputs), outputs = read("outputs", ids.outputs);
  const auto lock = context->exclusive();
  return graph_object(info.Env(), context, qnn::Graph::retrieve(context->context, ids, inputs, outputs));
}

/// The library writes outputs while it still reads inputs.
void require_apart(const std::vector<std::span<std::byte>>& inputs, const std::vector<std::span<std::byte>>& outputs) {
  const auto overlap = [](std::span<std::byte> a, std::span<std::byte> b) {
    const std::less<const std::byte*> before;
    return before(a.data(), b.data() + b.size()) && before(b.data(), a.data() + a.size());
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    for (const auto& input : inputs) {
      if (overlap(outputs[i], input)) throw Error(ErrorCode::kInvalidArgument, "output " + std::to_string(i) + " shares memory with an input");
    }
    for (size_t k = 0; k < i; ++k) {
      if (overlap(outputs[i], outputs[k])) throw Error(ErrorCode::kInvalidArgument, "outputs " + std::to_string(k) + " and " + std::to_string(i) + " share memory");
    }
  }
}

void run(GraphCore& core, std::span<const std::span<std::byte>> inputs, std::span<const std::span<std::byte>> outputs, ProfileCore* profile) {
  const std::shared_lock context_lock(core.context->mutex);
  const std::lock_guard turn(*core.turn);
  const ProfileUse use(profile);
  const std::vector<std::span<const std::byte>> readable(inputs.begin(), inputs.end());
  core.graph.execute(readable, outputs, use.get());
}

Napi::Value execute(const Napi::CallbackInfo& info, Environment&) {
  const auto handle = unwrap_as<GraphHandle>(info[0], "graph");
  const auto core = handle->get();
  if (handle->busy()) throw Error(ErrorCode::kBusy, "an asynchronous execution of this graph is under way", "await it first, or use executeAsync");
  if (core->context->finalizing > 0) throw Error(ErrorCode::kBusy, "a graph of this context is being finalized", "await it first, or use executeAsync");
  const auto inputs = arrays_bytes(info[1], "inputs"), outputs = arrays_bytes(info[2], "outputs");
  const auto profile = optional_profile(info[3]);
  if (profile != nullptr && profile->pending > 0) throw Error(ErrorCode::kBusy, "the profile is in use by a call under way", "await it first");
  require_apart(inputs, outputs);
  run(*core, inputs, outputs, profile.get());
  return info.Env().Undefined();
}

/// Copies of the inputs and room for the outputs of one execution in the background.
struct Buffers {
  std::vector<std::vector<std::byte>> inputs, outputs;
};

Napi::Value to_array_buffers(Napi::Env env, const Buffers& buffers) {
  Napi::Array out = Napi::Array::New(env, buffers.outputs.size());
  for (size_t i = 0; i < buffers.outputs.size(); ++i) {
    auto buffer = Napi::ArrayBuffer::New(env, buffers.outputs[i].size());
    std::memcpy(buffer.Data(), buffers.outputs[i].data(), buffers.outputs[i].size());
    out.Set(static_cast<uint32_t>(i), buffer);
  }
  return out;
}

Napi::Value execute_async(const Napi::CallbackInfo& info, Environment& environment) {
  const auto handle = unwrap_as<GraphHandle>(info[0], "graph");
  const auto core = handle->get();
  const auto inputs = arrays_bytes(info[1], "inputs");
  const auto profile = optional_profile(info[2]);
  if (inputs.size() != core->graph.input_count()) {
    throw Error(ErrorCode::kInvalidArgument, "graph '" + core->graph.name() + "' has " + std::to_string(core->graph.input_count()) + " inputs but " +
                                                 std::to_string(inputs.size()) + " were given");
  }
  auto buffers = std::make_shared<Buffers>();
  for (size_t i = 0; i < inputs.size(); ++i) {
    // Checked before it is copied: an array of another size may be of any size.
    if (inputs[i].size() != core->graph.input_bytes(i)) {
      throw Error(ErrorCode::kInvalidArgument, "input " + std::to_string(i) + " of graph '" + core->graph.name() + "' needs " + std::to_string(core->graph.input_bytes(i)) +
                                                   " bytes but has " + std::to_string(inputs[i].size()));
    }
    buffers->inputs.emplace_back(inputs[i].begin(), inputs[i].end());
  }
  auto profiling = counted(profile, &ProfileCore::pending);
  return handle->runner(info.Env(), environment).run(info.Env(), [core, buffers, profile, profiling = std::move(profiling)]() mutable -> Runner::Finish {
    std::vector<std::span<std::byte>> readable, writable;
    for (auto& input : buffers->inputs) readable.emplace_back(input);
    for (size_t i = 0; i < core->graph.output_count(); ++i) {
      writable.emplace_back(buffers->outputs.emplace_back(core->graph.output_bytes(i)));
    }
    run(*core, readable, writable, profile.get());
    profiling.reset();
    buffers->inputs.clear();
    return [buffers](Napi::Env env) { return to_array_buffers(env, *buffers); };
  });
}

}  // namespace

void add_graph_calls(QnnTable& table) {
  table.add("createContext", create_context);
  table.add("contextFromBinary", context_from_binary);
  table.add("contextBinary", context_binary);
  table.add("createGraph", create_graph);
  table.add("addTensor", add_tensor);
  table.add("validateNode", validate_node);
  table.add("addNode", add_node);
  table.add("finalize", finalize);
  table.add("finalizeAsync", finalize_async);
  table.add("graphIds", graph_ids);
  table.add("retrieveGraph", retrieve_graph);
  table.add("execute", execute);
  table.add("executeAsync", execute_async);
}

}  // namespace lutra::addon
