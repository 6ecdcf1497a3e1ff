#include "hostnpu/graph.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "hostnpu/context.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

uint64_t microseconds(double seconds) { return static_cast<uint64_t>(seconds * 1e6 + 0.5); }

}  // namespace

void Graph::require_open() const {
  if (state_ == State::kFinalized) throw Failure(abi::kGraphFinalized, "graph '" + name_ + "' is finalized");
  if (state_ == State::kFailed) throw Failure(abi::kGraphFinalizeFailed, "finalizing graph '" + name_ + "' has failed before");
}

void Graph::add_tensor(std::shared_ptr<TensorInfo> tensor) {
  require_open();
  if (names_.contains(tensor->name)) throw Failure(abi::kTensorAlreadyExists, "graph '" + name_ + "' has a tensor '" + tensor->name + "' already");
  if (!by_id_.emplace(tensor->id, tensors_.size()).second) throw Failure(abi::kTensorAlreadyExists, "graph '" + name_ + "' has a tensor of the id of '" + tensor->name + "'");
  names_.insert(tensor->name);
  tensors_.push_back(std::move(tensor));
}

std::shared_ptr<TensorInfo> Graph::tensor(uint32_t id) const noexcept {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : tensors_[found->second];
}

void Graph::add_node(Node node, const Backend& backend) {
  require_open();
  for (const auto& input : node.inputs) {
    if (input == nullptr || input->is_input() || input->is_static() || written_.contains(input->id)) continue;
    throw Failure(abi::kGraphUnconnectedNode, "node '" + node.name + "' reads '" + input->name + "', which no node before it writes");
  }
  for (const auto& output : node.outputs) {
    if (output->is_input() || output->is_static()) throw Failure(abi::kGraphInvalidTensor, "node '" + node.name + "' writes '" + output->name + "', which is an input or constant");
    if (written_.contains(output->id)) throw Failure(abi::kGraphInvalidTensor, "node '" + node.name + "' writes '" + output->name + "', which another node writes");
  }
  backend.check(node);
  for (const auto& output : node.outputs) written_.insert(output->id);
  nodes_.push_back(std::move(node));
}

void Graph::plan(Backend& backend) {
  if (nodes_.empty()) throw Failure(abi::kGraphFinalizeFailed, "graph '" + name_ + "' has no nodes");
  std::unordered_map<uint32_t, uint32_t> uses;  // of constants, by nodes not yet planned
  for (const Node& node : nodes_) {
    for (const auto& input : node.inputs) {
      if (input != nullptr && input->is_static()) ++uses[input->id];
    }
  }
  Planner planner(backend.runner(), backend.gemm(), backend.ops());
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    planner.begin_node(i);
    find_op(nodes_[i].type)->plan(nodes_[i], planner);
    // A weight that is packed and read in no other way has served: only its packed form is kept. Constants of the context may have other users.
    for (const auto& input : nodes_[i].inputs) {
      if (input == nullptr || !input->is_static() || --uses[input->id] != 0 || !by_id_.contains(input->id)) continue;
      if (!input->data->all_packed().empty() && !planner.uses_raw(*input)) input->data->drop_raw();
    }
  }
  for (const auto& tensor : tensors_) {
    if (tensor->is_output() && !written_.contains(tensor->id)) throw Failure(abi::kGraphUnconnectedNode, "no node writes the output '" + tensor->name + "'");
    if (tensor->is_input()) inputs_.push_back({tensor, planner.slot(*tensor)});
    if (tensor->is_output()) outputs_.push_back({tensor, planner.slot(*tensor)});
  }
  schedule_ = Schedule(std::move(planner.stages()), std::move(planner.slots()), backend.runner().threads());
}

void Graph::finalize(Backend& backend, Context& context) {
  require_open();
  state_ = State::kFailed;
  plan(backend);
  context.reserve_arena(schedule_.arena_bytes());
  const Context::Run run(context);  // an execution that comes too early reads the state
  memory_.assign(schedule_.slots().size(), nullptr);
  state_ = State::kFinalized;
}

void Graph::bind(const std::vector<Port>& ports, std::span<const abi::Tensor> tensors, const char* what) {
  if (tensors.size() != ports.size()) {
    throw Failure(abi::kGraphInvalidArgument, "graph '" + name_ + "' has " + std::to_string(ports.size()) + " " + what + " tensors but " + std::to_string(tensors.size()) + " were given");
  }
  for (const Port& port : ports) memory_[port.slot] = nullptr;
  for (const abi::Tensor& tensor : tensors) {
    if (tensor.version != 1 && tensor.version != 2) throw Failure(abi::kGraphInvalidTensor, "a tensor structure has version " + std::to_string(tensor.version));
    const auto port = std::find_if(ports.begin(), ports.end(), [&](const Port& one) { return one.tensor->id == tensor.v1.id; });
    if (port == ports.end()) throw Failure(abi::kGraphInvalidTensor, "graph '" + name_ + "' has no " + what + " tensor with id " + std::to_string(tensor.v1.id));
    const TensorInfo& info = *port->tensor;
    if (memory_[port->slot] != nullptr) throw Failure(abi::kGraphInvalidArgument, "'" + info.name + "' is given twice");
    if (tensor.v1.mem_type != abi::TensorMemType::kRaw) throw Failure(abi::kMemUnsupportedType, "'" + info.name + "' is not in a plain buffer");
    if (tensor.v1.client.data == nullptr || tensor.v1.client.size != info.bytes()) {
      throw Failure(abi::kGraphInvalidArgument, "'" + info.name + "' needs a buffer of " + std::to_string(info.bytes()) + " bytes but got " +
                                                    std::to_string(tensor.v1.client.data == nullptr ? 0 : tensor.v1.client.size));
    }
    memory_[port->slot] = static_cast<std::byte*>(tensor.v1.client.data);
  }
}

void Graph::execute(Context& context, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs, Profile* profile) {
  using Clock = std::chrono::steady_clock;
  const Context::Run run(context);
  if (!finalized()) throw Failure(abi::kGraphNotFinalized, "graph '" + name_ + "' is not finalized");
  const auto start = Clock::now();
  bind(inputs_, inputs, "input");
  bind(outputs_, outputs, "output");
  const std::vector<SlotInfo>& slots = schedule_.slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].where == SlotInfo::Where::kArena) memory_[i] = run.arena() + slots[i].offset;
    // The kernels take one kind of pointer; nothing writes to a constant.
    if (slots[i].where == SlotInfo::Where::kStatic) memory_[i] = const_cast<std::byte*>(slots[i].constant);
  }
  Runner& runner = context.backend().runner();
  std::vector<Profile::Part> parts;
  if (profile != nullptr && profile->detailed()) {
    std::vector<double> seconds(nodes_.size(), 0.0);
    schedule_.run_timed(memory_, runner, [&](uint32_t node, double time) { seconds[node] += time; });
    for (size_t i = 0; i < nodes_.size(); ++i) parts.push_back({nodes_[i].name, microseconds(seconds[i])});
  } else {
    schedule_.run(memory_, runner);
  }
  if (profile != nullptr) {
    profile->record(abi::ProfileEventType::kExecute, name_, microseconds(std::chrono::duration<double>(Clock::now() - start).count()), std::move(parts));
  }
}

}  // namespace lutra::hostnpu
