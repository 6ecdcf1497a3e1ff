// The part of the program that builds, executes, saves and restores graphs.
#include <algorithm>
#include <cstring>

#include "qnn_machine.h"

namespace lutra::fuzz {
namespace {

using abi::Slot;

constexpr uint64_t kMostTensorBytes = uint64_t{1} << 16;  // of a tensor that is given data
constexpr uint64_t kMostGraphBytes = uint64_t{1} << 20;   // of the tensors of a graph that is finalized
constexpr size_t kMostTensors = 200;

bool is_input(const RawTensor& tensor) { return tensor.type == abi::TensorType::kAppWrite; }
bool is_output(const RawTensor& tensor) { return tensor.type == abi::TensorType::kAppRead; }

abi::Tensor with_buffer(RawTensor& tensor, std::vector<std::byte>& buffer) {
  abi::Tensor out = tensor.structure();
  out.v1.client = {buffer.data(), static_cast<uint32_t>(buffer.size())};
  return out;
}

}  // namespace

/// Creates the tensor and keeps it if the library took it.
bool QnnMachine::create(GraphState& graph, RawTensor tensor, ByteSource& source) {
  if (graph.tensors.size() >= kMostTensors) return false;
  const uint64_t bytes = tensor.bytes();
  if (bytes <= kMostTensorBytes) {
    tensor.fit_data();
  } else {
    tensor.data.resize(std::min<size_t>(tensor.data.size(), 64));  // constants of that size are refused for their data, other tensors have none
  }
  if (source.one_in(32) && !tensor.data.empty()) tensor.data.pop_back();
  abi::Tensor structure = tensor.structure();
  if (source.one_in(64)) structure.v1.name = nullptr;
  if (source.one_in(64)) structure.version = static_cast<int32_t>(source.below(4));
  if (source.one_in(64)) structure.v1.format = static_cast<abi::DataFormat>(source.below(9));
  if (source.one_in(64)) structure.v1.mem_type = static_cast<abi::TensorMemType>(source.below(3));
  if (slot<abi::TensorCreateGraphTensorFn>(Slot::kTensorCreateGraphTensor)(maybe_wrong(graph.handle, source), &structure) != 0) return false;
  tensor.id = structure.v1.id;
  graph.bytes += bytes;
  graph.tensors.push_back(std::move(tensor));
  return true;
}

void QnnMachine::add_tensor(ByteSource& source) {
  Form form = source.of(forms_);
  vary(form, source);
  if (form.inputs.empty()) return;
  RawTensor& tensor = form.inputs[source.below(form.inputs.size())];
  tensor.name = source.one_in(8) ? "" : new_name("t");
  if (GraphState* graph = pick_graph(source); graph != nullptr && !source.one_in(4)) {
    create(*graph, tensor, source);
  } else if (ContextState* context = pick_context(source); context != nullptr && tensor.bytes() <= kMostTensorBytes) {
    tensor.type = source.one_in(8) ? tensor.type : abi::TensorType::kStatic;
    tensor.fit_data();
    abi::Tensor structure = tensor.structure();
    slot<abi::TensorCreateContextTensorFn>(Slot::kTensorCreateContextTensor)(maybe_wrong(context->handle, source), source.one_in(64) ? nullptr : &structure);
  }
}

/// Puts into `out` the structure of a tensor of the graph for an operand of a node: one that is there and looks alike, or a new one.
bool QnnMachine::place(GraphState& graph, RawTensor& wanted, bool writes, ByteSource& source, abi::Tensor& out) {
  if (!writes && source.one_in(2)) {
    const size_t first = source.below(graph.tensors.size());
    for (size_t i = 0; i < graph.tensors.size(); ++i) {
      RawTensor& known = graph.tensors[(first + i) % graph.tensors.size()];
      if (known.dtype != wanted.dtype || known.dims != wanted.dims || known.is_constant() != wanted.is_constant()) continue;
      out = known.structure();
      return true;
    }
  }
  if (wanted.type == abi::TensorType::kNull) {
    out = wanted.structure();
    return true;
  }
  RawTensor made = wanted;
  made.name = source.one_in(64) ? wanted.name : new_name("t");
  if (writes && made.type == abi::TensorType::kNative && source.one_in(2)) made.type = abi::TensorType::kAppRead;
  if (!made.data.empty() && source.one_in(4)) {
    for (std::byte& one : made.data) one ^= static_cast<std::byte>(source.byte());
  }
  if (!create(graph, std::move(made), source)) return false;
  out = graph.tensors.back().structure();
  return true;
}

abi::Param QnnMachine::param_of(const qnn::ParamDesc& desc, GraphState& graph, ByteSource& source) {
  abi::Param param{};
  param.type = abi::ParamType::kScalar;
  param.name = desc.name.c_str();
  if (const auto* real = std::get_if<float>(&desc.value)) {
    param.scalar.dtype = abi::DataType::kFloat32;
    param.scalar.f32 = *real;
  } else if (const auto* word = std::get_if<uint32_t>(&desc.value)) {
    param.scalar.dtype = abi::DataType::kUint32;
    param.scalar.u32 = *word;
  } else if (const auto* integer = std::get_if<int32_t>(&desc.value)) {
    param.scalar.dtype = abi::DataType::kInt32;
    param.scalar.i32 = *integer;
  } else if (const auto* flag = std::get_if<bool>(&desc.value)) {
    param.scalar.dtype = abi::DataType::kBool8;
    param.scalar.bool8 = *flag;
  } else {
    const auto& tensor = std::get<qnn::TensorParam>(desc.value);
    RawTensor made;
    made.name = new_name("p");
    made.type = abi::TensorType::kStatic;
    made.dtype = tensor.dtype;
    made.dims = tensor.dims;
    made.data.resize(tensor.values.size() * 4);
    if (!made.data.empty()) std::memcpy(made.data.data(), tensor.values.data(), made.data.size());
    param.type = abi::ParamType::kTensor;
    if (create(graph, std::move(made), source)) param.tensor = graph.tensors.back().structure();
  }
  return param;
}

void QnnMachine::add_node(ByteSource& source) {
  GraphState* graph = pick_graph(source);
  if (graph == nullptr) return;
  Form form = source.of(forms_);
  vary(form, source);
  std::vector<abi::Tensor> inputs(form.inputs.size()), outputs(form.outputs.size());
  bool whole = true;
  for (size_t i = 0; i < inputs.size(); ++i) whole = place(*graph, form.inputs[i], false, source, inputs[i]) && whole;
  for (size_t i = 0; i < outputs.size(); ++i) whole = place(*graph, form.outputs[i], true, source, outputs[i]) && whole;
  if (!whole && !source.one_in(8)) return;  // some of them are no tensors of the graph
  std::vector<abi::Param> params;
  for (const qnn::ParamDesc& one : form.params) params.push_back(param_of(one, *graph, source));
  const std::string name = new_name("node");
  abi::OpConfig op{1, name.c_str(), "qti.aisw", form.op.c_str(), static_cast<uint32_t>(params.size()), params.data(), static_cast<uint32_t>(inputs.size()), inputs.data(),
                   static_cast<uint32_t>(outputs.size()), outputs.data()};
  if (source.one_in(64)) op.inputs = nullptr;
  if (source.one_in(64)) op.package = source.one_in(2) ? nullptr : "other";
  if (source.one_in(64)) op.type = source.one_in(2) ? nullptr : "NoOp";
  if (source.one_in(64)) op.version = static_cast<int32_t>(source.below(3));
  if (source.one_in(4)) slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig)(one_of(backends_, source), op);
  slot<abi::GraphAddNodeFn>(Slot::kGraphAddNode)(maybe_wrong(graph->handle, source), op);
}

void QnnMachine::finalize(ByteSource& source) {
  GraphState* graph = pick_graph(source);
  // The arena of a graph is as large as its tensors say: that is a matter of whoever describes them.
  if (graph == nullptr || graph->bytes > kMostGraphBytes) return;
  const bool done = slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(maybe_wrong(graph->handle, source), maybe_profile(source), nullptr) == 0;
  graph->finalized = graph->finalized || done;
}

/// Executes with buffers of its own; the inputs hold what the tensors hold.
abi::Status QnnMachine::call_execute(abi::GraphHandle handle, GraphState& graph, abi::ProfileHandle profile, Buffers& results) {
  Buffers given;
  std::vector<abi::Tensor> inputs, outputs;
  results.clear();
  given.reserve(graph.tensors.size());
  results.reserve(graph.tensors.size());
  for (RawTensor& tensor : graph.tensors) {
    if (tensor.bytes() > kMostTensorBytes) continue;
    if (is_input(tensor)) {
      given.push_back(tensor.data);
      inputs.push_back(with_buffer(tensor, given.back()));
    } else if (is_output(tensor)) {
      results.emplace_back(tensor.bytes(), std::byte{0xcc});
      outputs.push_back(with_buffer(tensor, results.back()));
    }
  }
  return slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(handle, inputs.data(), static_cast<uint32_t>(inputs.size()), outputs.data(), static_cast<uint32_t>(outputs.size()), profile, nullptr);
}

void QnnMachine::check_again(abi::GraphHandle handle, GraphState& graph, abi::ProfileHandle profile, const Buffers& expected, const char* when) {
  Buffers results;
  if (call_execute(handle, graph, profile, results) != 0) fail(when);
  if (results != expected) fail(when);
}

void QnnMachine::execute(ByteSource& source) {
  GraphState* graph = pick_graph(source);
  if (graph == nullptr) return;
  Buffers results;
  if (call_execute(maybe_wrong(graph->handle, source), *graph, nullptr, results) != 0) return;
  check_again(graph->handle, *graph, nullptr, results, "a second execution fails or gives other bits");
  if (!profiles_.empty()) check_again(graph->handle, *graph, profiles_[source.below(profiles_.size())], results, "an execution with a profile fails or gives other bits");
}

void QnnMachine::execute_wrongly(ByteSource& source) {
  GraphState* graph = pick_graph(source);
  if (graph == nullptr) return;
  std::vector<abi::Tensor> lists[2];
  Buffers buffers;
  buffers.reserve(2 * graph->tensors.size());
  for (RawTensor& tensor : graph->tensors) {
    if (tensor.bytes() > kMostTensorBytes) continue;
    for (size_t copies = source.one_in(16) ? source.below(3) : (is_input(tensor) || is_output(tensor) ? 1 : 0); copies > 0; --copies) {
      buffers.emplace_back(source.one_in(16) ? source.below(64) : tensor.bytes());
      abi::Tensor structure = with_buffer(tensor, buffers.back());
      if (source.one_in(32)) structure.v1.id = static_cast<uint32_t>(source.below(64));
      if (source.one_in(64)) structure.version = 0;
      if (source.one_in(64)) structure.v1.mem_type = abi::TensorMemType::kMemHandle;
      lists[is_output(tensor)].push_back(structure);
    }
  }
  const auto count = [&](const std::vector<abi::Tensor>& list) { return source.one_in(32) ? uint32_t{0} : static_cast<uint32_t>(list.size()); };
  slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(maybe_wrong(graph->handle, source), lists[0].data(), count(lists[0]), source.one_in(32) ? nullptr : lists[1].data(), count(lists[1]),
                                                 maybe_profile(source), nullptr);
}

void QnnMachine::save(ByteSource& source) {
  ContextState* context = pick_context(source);
  if (context == nullptr) return;
  uint64_t size = 0, written = 0;
  if (slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(maybe_wrong(context->handle, source), source.one_in(32) ? nullptr : &size) != 0) return;
  std::vector<std::byte> binary(source.one_in(16) ? source.below(size) : size);
  if (slot<abi::ContextGetBinaryFn>(Slot::kContextGetBinary)(maybe_wrong(context->handle, source), binary.data(), binary.size(), &written) != 0) return;
  if (written != binary.size()) fail("a context binary has another size than was said");
  on_binary(binary);
  check_round_trip(*context, binary);
  binary_ = std::move(binary);
}

/// A context out of a binary computes what the one computes that it was made from.
void QnnMachine::check_round_trip(ContextState& context, std::span<const std::byte> binary) {
  if (backends_.empty()) return;
  abi::ContextHandle restored{};
  const auto status = slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(backends_[0], nullptr, nullptr, binary.data(), binary.size(), &restored, nullptr);
  if (status != 0) fail("a context binary is not taken back");
  for (GraphState& graph : context.graphs) {
    Buffers results;
    if (!graph.finalized || call_execute(graph.handle, graph, nullptr, results) != 0) continue;
    abi::GraphHandle again{};
    if (slot<abi::GraphRetrieveFn>(Slot::kGraphRetrieve)(restored, graph.name.c_str(), &again) != 0) fail("a graph is not in the context binary");
    check_again(again, graph, nullptr, results, "a graph out of a context binary fails or gives other bits");
  }
  uint64_t size = 0;
  if (slot<abi::ContextGetBinarySizeFn>(Slot::kContextGetBinarySize)(restored, &size) != 0 || size != binary.size()) fail("a restored context has a binary of another size");
  slot<abi::ContextFreeFn>(Slot::kContextFree)(restored, nullptr);
}

void QnnMachine::restore_damaged(ByteSource& source) {
  if (binary_.empty()) return;
  std::vector<std::byte> damaged = binary_;
  if (source.one_in(2)) {
    damaged.resize(source.below(damaged.size()));
  } else {
    damaged[(size_t{source.byte()} << 8 | source.byte()) % damaged.size()] ^= static_cast<std::byte>(source.byte() | 1);
  }
  abi::ContextHandle handle{};
  const auto backend = one_of(backends_, source);
  slot<abi::ContextValidateBinaryFn>(Slot::kContextValidateBinary)(backend, nullptr, nullptr, damaged.data(), damaged.size());
  const auto status = slot<abi::ContextCreateFromBinaryFn>(Slot::kContextCreateFromBinary)(backend, one_of(devices_, source), nullptr, damaged.data(), damaged.size(), &handle, maybe_profile(source));
  if (status == 0) fail("a damaged context binary is taken");
  system_calls(damaged);
}

}  // namespace lutra::fuzz
