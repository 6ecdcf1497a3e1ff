#include "qnn/graph.h"

#include <algorithm>
#include <bit>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "qnn/form.h"

namespace lutra::qnn {
namespace {

std::vector<abi::Tensor> arguments(const TensorList& list) {
  std::vector<abi::Tensor> out;
  out.reserve(list.size());
  for (const auto& record : list) out.push_back(record->qnn());
  return out;
}

/// Points `args` at `buffers`; `what` is "input" or "output".
template <class Byte>
void set_buffers(const std::string& graph, const char* what, const TensorList& list, std::vector<abi::Tensor>& args, std::span<const std::span<Byte>> buffers) {
  if (buffers.size() != list.size()) {
    throw Error(ErrorCode::kInvalidArgument, "graph '" + graph + "' has " + std::to_string(list.size()) + " " + what + " tensors but " +
                                                 std::to_string(buffers.size()) + " buffers were given");
  }
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].size() != list[i]->bytes()) {
      throw Error(ErrorCode::kInvalidArgument, std::string(what) + " '" + list[i]->name() + "' of graph '" + graph + "' needs " +
                                                   std::to_string(list[i]->bytes()) + " bytes but " + std::to_string(buffers[i].size()) + " were given");
    }
    // Inputs are only read; the interface has one struct for both directions.
    args[i].v1.client = {const_cast<std::byte*>(buffers[i].data()), static_cast<uint32_t>(buffers[i].size())};
  }
}

std::string describe_param(const abi::Param& param) {
  std::string text = std::string(param.name) + " ";
  if (param.type == abi::ParamType::kTensor) {
    const abi::TensorV1& t = param.tensor.v1;
    const auto* values = static_cast<const uint32_t*>(t.client.data);
    const auto word = [&t](uint32_t bits) {
      if (t.dtype == abi::DataType::kFloat32) return std::to_string(std::bit_cast<float>(bits));
      return t.dtype == abi::DataType::kInt32 ? std::to_string(static_cast<int32_t>(bits)) : std::to_string(bits);
    };
    text += "{";
    for (uint32_t i = 0; i < t.client.size / sizeof(uint32_t); ++i) text += (i == 0 ? "" : ", ") + word(values[i]);
    return text + "}";
  }
  switch (param.scalar.dtype) {
    case abi::DataType::kFloat32: return text + std::to_string(param.scalar.f32);
    case abi::DataType::kInt32: return text + std::to_string(param.scalar.i32);
    case abi::DataType::kBool8: return text + (param.scalar.bool8 != 0 ? "true" : "false");
    default: return text + std::to_string(param.scalar.u32);
  }
}

std::string describe_list(const std::vector<abi::Tensor>& tensors) {
  std::string text;
  for (const abi::Tensor& tensor : tensors) text.append(text.empty() ? "" : "; ").append(describe(tensor));
  return text;
}

abi::OpConfig make_op(const NodeDesc& desc, std::vector<abi::Param>& params, std::vector<abi::Tensor>& inputs, std::vector<abi::Tensor>& outputs) {
  abi::OpConfig op{};
  op.version = 1;
  op.name = desc.name.c_str();
  op.package = "qti.aisw";
  op.type = desc.type.c_str();
  op.param_count = static_cast<uint32_t>(params.size());
  op.params = params.data();
  op.input_count = static_cast<uint32_t>(inputs.size());
  op.inputs = inputs.data();
  op.output_count = static_cast<uint32_t>(outputs.size());
  op.outputs = outputs.data();
  return op;
}

std::string describe_node(const NodeDesc& desc, const std::string& graph, const std::vector<abi::Param>& params, const std::vector<abi::Tensor>& inputs,
                          const std::vector<abi::Tensor>& outputs) {
  std::string text = "node '" + desc.name + "' of graph '" + graph + "', " + desc.type + "(" + describe_list(inputs) + ") -> (" + describe_list(outputs) + ")";
  for (size_t i = 0; i < params.size(); ++i) text.append(i == 0 ? " with " : ", ").append(describe_param(params[i]));
  return text;
}

abi::Scalar scalar(const ParamDesc& desc) {
  abi::Scalar out{};
  std::visit(
      [&out](const auto& value) {
        using T = std::decay_t<decltype(value)>;
        if constexpr (std::is_same_v<T, float>) {
          out.dtype = abi::DataType::kFloat32;
          out.f32 = value;
        } else if constexpr (std::is_same_v<T, uint32_t>) {
          out.dtype = abi::DataType::kUint32;
          out.u32 = value;
        } else if constexpr (std::is_same_v<T, int32_t>) {
          out.dtype = abi::DataType::kInt32;
          out.i32 = value;
        } else if constexpr (std::is_same_v<T, bool>) {
          out.dtype = abi::DataType::kBool8;
          out.bool8 = value ? 1 : 0;
        }
      },
      desc.value);
  return out;
}

/// The interface's form of an input that is left out.
abi::Tensor omitted_tensor() {
  abi::Tensor tensor{};
  tensor.version = 1;
  tensor.v1.name = "";
  tensor.v1.type = abi::TensorType::kNull;
  tensor.v1.dtype = abi::DataType::kUndefined;
  tensor.v1.quantize.definition = abi::QuantizeDefinition::kUndefined;
  tensor.v1.quantize.encoding = abi::QuantizeEncoding::kUndefined;
  return tensor;
}

/// The HTP's custom configurations and the list that points at them.
struct GraphConfigs {
  explicit GraphConfigs(const GraphOptions& options) {
    custom.reserve(3);
    if (options.optimization) {
      add(abi::HtpGraphOption::kOptimization).optimization = {abi::kHtpFinalizeOptimizationFlag, *options.optimization};
    }
    if (options.vtcm_mb) add(abi::HtpGraphOption::kVtcmMb).u32 = *options.vtcm_mb;
    if (options.hvx_threads) add(abi::HtpGraphOption::kNumHvxThreads).u64 = *options.hvx_threads;
    for (abi::HtpGraphCustomConfig& one : custom) {
      abi::GraphConfig config{};
      config.option = abi::GraphOption::kCustom;
      config.pointer = &one;
      configs.push_back(config);
    }
    for (const abi::GraphConfig& config : configs) list.push_back(&config);
    list.push_back(nullptr);
  }

  abi::HtpGraphCustomConfig& add(abi::HtpGraphOption option) {
    custom.push_back({});
    custom.back().option = option;
    return custom.back();
  }

  std::vector<abi::HtpGraphCustomConfig> custom;
  std::vector<abi::GraphConfig> configs;
  std::vector<const abi::GraphConfig*> list;
};

}  // namespace

// ------------------------------------------------------------------------------------------------------------------ Graph

Graph::Graph(std::shared_ptr<const Context> context, std::string name, abi::GraphHandle handle, TensorList inputs, TensorList outputs)
    : context_(std::move(context)),
      name_(std::move(name)),
      handle_(handle),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      input_args_(arguments(inputs_)),
      output_args_(arguments(outputs_)) {
  watch_exit();
}

Graph Graph::retrieve(std::shared_ptr<const Context> context, const GraphIds& ids, std::span<const TensorDesc> inputs,
                      std::span<const TensorDesc> outputs) {
  const Backend& backend = context->backend();
  if (backend.api().graph_retrieve == nullptr) {
    throw Error(ErrorCode::kUnsupported, "'" + backend.library().info().source + "' cannot take graphs out of a context binary");
  }
  if (ids.inputs.size() != inputs.size() || ids.outputs.size() != outputs.size()) {
    throw Error(ErrorCode::kInvalidArgument, "graph '" + ids.name + "' of the context binary has " + std::to_string(ids.inputs.size()) + " inputs and " +
                                                 std::to_string(ids.outputs.size()) + " outputs, but " + std::to_string(inputs.size()) + " and " +
                                                 std::to_string(outputs.size()) + " were described");
  }
  abi::GraphHandle handle = nullptr;
  const CallGuard guard;
  const abi::Status status = backend.api().graph_retrieve(context->handle(), ids.name.c_str(), &handle);
  if (status != 0) backend.fail(ErrorCode::kQnnCall, "graphRetrieve", "graph '" + ids.name + "'", status);
  const auto records = [](std::span<const TensorDesc> descs, const std::vector<uint32_t>& numbers, abi::TensorType type) {
    TensorList list;
    for (size_t i = 0; i < descs.size(); ++i) {
      list.push_back(std::make_unique<TensorRecord>(descs[i], type));
      list.back()->qnn().v1.id = numbers[i];
    }
    return list;
  };
  return Graph(std::move(context), ids.name, handle, records(inputs, ids.inputs, abi::TensorType::kAppWrite),
               records(outputs, ids.outputs, abi::TensorType::kAppRead));
}

GraphIds Graph::ids() const {
  GraphIds out{name_, {}, {}};
  for (const auto& record : inputs_) out.inputs.push_back(record->qnn().v1.id);
  for (const auto& record : outputs_) out.outputs.push_back(record->qnn().v1.id);
  return out;
}

void Graph::execute(std::span<const std::span<const std::byte>> inputs, std::span<const std::span<std::byte>> outputs, const Profile* profile) {
  set_buffers(name_, "input", inputs_, input_args_, inputs);
  set_buffers(name_, "output", outputs_, output_args_, outputs);
  const Backend& backend = context_->backend();
  const CallGuard guard;
  const abi::Status status =
      backend.api().graph_execute(handle_, input_args_.data(), static_cast<uint32_t>(input_args_.size()), output_args_.data(),
                                  static_cast<uint32_t>(output_args_.size()), profile == nullptr ? nullptr : profile->handle(), nullptr);
  if (!std::exchange(executed_, true)) watch_exit();
  if (status != 0) backend.fail(ErrorCode::kQnnCall, "graphExecute", "graph '" + name_ + "'", status);
}

// ---------------------------------------------------------------------------------------------------------------- builder

GraphBuilder::GraphBuilder(std::shared_ptr<const Context> context, std::string name, const GraphOptions& options)
    : context_(std::move(context)), name_(std::move(name)) {
  const Backend& backend = context_->backend();
  GraphConfigs configs(options);
  backend.take_errors();
  const CallGuard guard;
  const abi::Status status =
      backend.api().graph_create(context_->handle(), name_.c_str(), configs.custom.empty() ? nullptr : configs.list.data(), &handle_);
  if (status != 0) backend.fail(ErrorCode::kQnnCall, "graphCreate", "graph '" + name_ + "'", status);
}

void GraphBuilder::require_open() const {
  if (!open_) throw Error(ErrorCode::kInvalidArgument, "graph '" + name_ + "' is finalized, or failed before: it takes no more tensors and nodes");
}

TensorRef GraphBuilder::keep(std::unique_ptr<TensorRecord> record) {
  if (names_.contains(record->name())) {
    throw Error(ErrorCode::kInvalidArgument, "graph '" + name_ + "' has two tensors named '" + record->name() + "'");
  }
  const Backend& backend = context_->backend();
  backend.take_errors();
  const CallGuard guard;
  const abi::Status status = backend.api().tensor_create_graph_tensor(handle_, &record->qnn());
  if (status != 0) {
    open_ = false;
    backend.fail(ErrorCode::kQnnCall, "tensorCreateGraphTensor", "tensor " + describe(record->qnn()) + " in graph '" + name_ + "'", status);
  }
  const auto index = static_cast<uint32_t>(tensors_.size());
  names_.insert(record->name());
  tensors_.push_back(std::move(record));
  written_.push_back(false);
  return {index};
}

TensorRef GraphBuilder::add(const TensorDesc& desc, abi::TensorType type) {
  require_open();
  const TensorRef ref = keep(std::make_unique<TensorRecord>(desc, type));
  if (type == abi::TensorType::kAppWrite) inputs_.push_back(ref.index);
  if (type == abi::TensorType::kAppRead) outputs_.push_back(ref.index);
  return ref;
}

std::vector<abi::Tensor> GraphBuilder::collect(const NodeDesc& node, const std::vector<TensorRef>& refs, bool may_omit) const {
  std::vector<abi::Tensor> out;
  for (const TensorRef ref : refs) {
    if (may_omit && ref.index == TensorRef::omitted().index) {
      out.push_back(omitted_tensor());
      continue;
    }
    if (ref.index >= tensors_.size()) {
      throw Error(ErrorCode::kInvalidArgument, "node '" + node.name + "' of graph '" + name_ + "' uses a tensor that the graph does not have");
    }
    out.push_back(tensors_[ref.index]->qnn());
  }
  return out;
}

GraphBuilder::Assembled GraphBuilder::assemble(const NodeDesc& desc) const {
  if (desc.name.empty()) throw Error(ErrorCode::kInvalidArgument, "a node of graph '" + name_ + "' has no name");
  Assembled node{collect(desc, desc.inputs, true), collect(desc, desc.outputs, false), {}, {}};
  for (const abi::Tensor& output : node.outputs) {
    if (output.v1.type != abi::TensorType::kNative && output.v1.type != abi::TensorType::kAppRead) {
      throw Error(ErrorCode::kInvalidArgument, "node '" + desc.name + "' of graph '" + name_ + "' writes '" + output.v1.name + "', which is a graph input or a constant");
    }
  }
  for (const ParamDesc& one : desc.params) {
    abi::Param param{};
    param.name = one.name.c_str();
    if (const auto* tensor = std::get_if<TensorParam>(&one.value)) {
      const TensorDesc description{.name = desc.name + "." + one.name,
                                   .dtype = tensor->dtype,
                                   .dims = tensor->dims,
                                   .encoding = Encoding::none(),
                                   .data = std::as_bytes(std::span(tensor->values))};
      node.param_tensors.push_back(std::make_unique<TensorRecord>(description, abi::TensorType::kStatic));
      param.type = abi::ParamType::kTensor;
      param.tensor = node.param_tensors.back()->qnn();
    } else {
      param.type = abi::ParamType::kScalar;
      param.scalar = scalar(one);
    }
    node.params.push_back(param);
  }
  return node;
}

void GraphBuilder::ask(const NodeDesc& desc, Assembled& node) const {
  const Refusals& refusals = context_->device()->refusals();
  if (const auto refusal = refusals.find(form_of(desc, node.inputs, node.outputs)); refusal != refusals.end()) {
    throw Error(ErrorCode::kQnnNode, describe_node(desc, name_, node.params, node.inputs, node.outputs) + " is refused: " + refusal->second.message, refusal->second.remedy);
  }
  const Backend& backend = context_->backend();
  backend.take_errors();
  const abi::OpConfig op = make_op(desc, node.params, node.inputs, node.outputs);
  const CallGuard guard;
  const abi::Status status = backend.api().backend_validate_op_config(backend.handle(), op);
  if (status != 0) backend.fail(ErrorCode::kQnnNode, "backendValidateOpConfig", describe_node(desc, name_, node.params, node.inputs, node.outputs), status);
}

void GraphBuilder::validate(const NodeDesc& desc) const {
  require_open();
  Assembled node = assemble(desc);
  ask(desc, node);
}

void GraphBuilder::check_order(const NodeDesc& desc) const {
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCode::kInvalidArgument, "node '" + desc.name + "' of graph '" + name_ + "' " + what);
  };
  if (node_names_.contains(desc.name)) refuse("has the name of another node");
  for (const TensorRef ref : desc.inputs) {
    if (ref.index == TensorRef::omitted().index) continue;
    const abi::TensorType type = tensors_[ref.index]->qnn().v1.type;
    const bool made_by_a_node = type == abi::TensorType::kNative || type == abi::TensorType::kAppRead;
    if (made_by_a_node && !written_[ref.index]) refuse("reads '" + tensors_[ref.index]->name() + "', which no node before it writes");
  }
  for (size_t i = 0; i < desc.outputs.size(); ++i) {
    const uint32_t index = desc.outputs[i].index;
    const auto same = [index](const TensorRef& other) { return other.index == index; };
    const auto here = desc.outputs.begin() + static_cast<std::ptrdiff_t>(i);
    if (written_[index] || std::any_of(desc.outputs.begin(), here, same)) refuse("writes '" + tensors_[index]->name() + "', which is written already");
  }
}

void GraphBuilder::create_params(const NodeDesc& desc, Assembled& node) {
  size_t next = 0;
  for (size_t i = 0; i < desc.params.size(); ++i) {
    const auto* tensor = std::get_if<TensorParam>(&desc.params[i].value);
    if (tensor == nullptr) continue;
    std::unique_ptr<TensorRecord>& record = node.param_tensors[next++];
    param_values_.push_back(std::make_unique<std::vector<uint32_t>>(tensor->values));
    record->qnn().v1.client.data = param_values_.back()->data();
    node.params[i].tensor = tensors_[keep(std::move(record)).index]->qnn();
  }
}

void GraphBuilder::node(const NodeDesc& desc) {
  require_open();
  Assembled node = assemble(desc);
  check_order(desc);
  ask(desc, node);
  create_params(desc, node);
  const Backend& backend = context_->backend();
  backend.take_errors();
  const CallGuard guard;
  const abi::Status status = backend.api().graph_add_node(handle_, make_op(desc, node.params, node.inputs, node.outputs));
  if (status != 0) {
    open_ = false;
    backend.fail(ErrorCode::kQnnCall, "graphAddNode", describe_node(desc, name_, node.params, node.inputs, node.outputs), status);
  }
  node_names_.insert(desc.name);
  for (const TensorRef ref : desc.outputs) written_[ref.index] = true;
}

Graph GraphBuilder::finalize(const Profile* profile) {
  require_open();
  if (node_names_.empty()) throw Error(ErrorCode::kInvalidArgument, "graph '" + name_ + "' has no nodes");
  for (const uint32_t output : outputs_) {
    if (!written_[output]) throw Error(ErrorCode::kInvalidArgument, "no node of graph '" + name_ + "' writes its output '" + tensors_[output]->name() + "'");
  }
  open_ = false;
  const Backend& backend = context_->backend();
  backend.take_errors();
  const CallGuard guard;
  const abi::Status status = backend.api().graph_finalize(handle_, profile == nullptr ? nullptr : profile->handle(), nullptr);
  if (status != 0) backend.fail(ErrorCode::kQnnCall, "graphFinalize", "graph '" + name_ + "'", status);
  backend.take_errors();  // complaints that did not matter are not to be taken for the reason of a later failure
  const auto take = [this](const std::vector<uint32_t>& indices) {
    TensorList list;
    for (const uint32_t index : indices) list.push_back(std::move(tensors_[index]));
    return list;
  };
  Graph graph(context_, name_, handle_, take(inputs_), take(outputs_));
  // Everything else was for the library's eyes; the weights' scales alone would be megabytes.
  tensors_.clear();
  param_values_.clear();
  return graph;
}

}  // namespace lutra::qnn
