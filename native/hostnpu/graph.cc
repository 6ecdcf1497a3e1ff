#include "hostnpu/graph.h"

#include <algorithm>
#include <utility>

#include "hostnpu/context.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

using Clock = std::chrono::steady_clock;

uint64_t microseconds(double seconds) { return static_cast<uint64_t>(seconds * 1e6 + 0.5); }
uint64_t microseconds(Clock::duration time) { return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(time).count()); }

ProfileEvent time_event(abi::ProfileEventType type, const std::string& name, uint64_t time) { return ProfileEvent(type, abi::ProfileUnit::kMicroseconds, time, name); }

}  // namespace

Graph::~Graph() {
  if (bound_profile_ != nullptr) bound_profile_->unbind(this);
}

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

std::vector<ProfileEvent> Graph::plan(Backend& backend, const Watch* watch) {
  if (nodes_.empty()) throw Failure(abi::kGraphFinalizeFailed, "graph '" + name_ + "' has no nodes");
  std::unordered_map<uint32_t, uint32_t> uses;  // of constants, by nodes not yet planned
  for (const Node& node : nodes_) {
    for (const auto& input : node.inputs) {
      if (input != nullptr && input->is_static()) ++uses[input->id];
    }
  }
  std::vector<ProfileEvent> times;
  Planner planner(backend.runner(), backend.gemm(), backend.ops());
  for (uint32_t i = 0; i < nodes_.size(); ++i) {
    if (watch != nullptr) watch->check();
    const auto start = Clock::now();
    planner.begin_node(i);
    find_op(nodes_[i].type)->plan(nodes_[i], planner);
    // A weight that is packed and read in no other way has served: only its packed form is kept. Constants of the context may have other users.
    for (const auto& input : nodes_[i].inputs) {
      if (input == nullptr || !input->is_static() || --uses[input->id] != 0 || !by_id_.contains(input->id)) continue;
      if (!input->data->all_packed().empty() && !planner.uses_raw(*input)) input->data->drop_raw();
    }
    times.push_back(time_event(abi::ProfileEventType::kNode, nodes_[i].name, microseconds(Clock::now() - start)));
  }
  for (const auto& tensor : tensors_) {
    if (tensor->is_output() && !written_.contains(tensor->id)) throw Failure(abi::kGraphUnconnectedNode, "no node writes the output '" + tensor->name + "'");
    if (tensor->is_input()) inputs_.push_back({tensor, planner.slot(*tensor)});
    if (tensor->is_output()) outputs_.push_back({tensor, planner.slot(*tensor)});
  }
  schedule_ = Schedule(std::move(planner.stages()), std::move(planner.slots()), backend.runner().threads());
  return times;
}

void Graph::finalize(Context& context, Profile* profile, const Watch* watch) {
  require_open();
  const auto start = Clock::now();
  state_ = State::kFailed;
  std::vector<ProfileEvent> nodes = plan(context.backend(), watch);
  memory_.assign(schedule_.slots().size(), nullptr);
  Context::Run(context).reserve(schedule_.arena_bytes());
  state_ = State::kFinalized;
  if (profile == nullptr) return;
  ProfileEvent event = time_event(abi::ProfileEventType::kFinalize, name_, microseconds(Clock::now() - start));
  if (profile->detailed()) event.parts = std::move(nodes);
  profile->record(std::vector{std::move(event)});
}

void Graph::apply(const GraphSettings& settings) {
  const std::lock_guard lock(profiling_mutex_);
  if (settings.profile != nullptr && settings.profile != bound_profile_) {
    if (!settings.profile->bind(this)) throw Failure(abi::kGraphProfileInUse, "the profile is bound to another graph");
    if (bound_profile_ != nullptr) bound_profile_->unbind(this);
    bound_profile_ = settings.profile;
  }
  if (settings.profiling) profiling_ = *settings.profiling;
  if (settings.profiled_executions) profiled_executions_ = *settings.profiled_executions;
}

std::shared_ptr<Profile> Graph::profile_of_call(std::shared_ptr<Profile> given, bool execution) {
  const std::lock_guard lock(profiling_mutex_);
  if (bound_profile_ == nullptr) return given;
  if (given != nullptr) throw Failure(abi::kGraphInvalidArgument, "graph '" + name_ + "' has a profile bound to it, so that its calls take none");
  if (!profiling_ || (execution && profiled_executions_ == 0)) return nullptr;
  if (execution) --profiled_executions_;
  return bound_profile_;
}

std::vector<std::byte*> Graph::bind_ports(const Context& context, const std::vector<Port>& ports, std::span<const abi::Tensor> tensors, const char* what, Execution& execution) const {
  if (tensors.size() != ports.size()) {
    throw Failure(abi::kGraphInvalidArgument, "graph '" + name_ + "' has " + std::to_string(ports.size()) + " " + what + " tensors but " + std::to_string(tensors.size()) + " were given");
  }
  std::vector<std::byte*> addresses(ports.size(), nullptr);
  for (const abi::Tensor& tensor : tensors) {
    if (tensor.version != 1 && tensor.version != 2) throw Failure(abi::kGraphInvalidTensor, "a tensor structure has version " + std::to_string(tensor.version));
    const auto port = std::find_if(ports.begin(), ports.end(), [&](const Port& one) { return one.tensor->id == tensor.v1.id; });
    if (port == ports.end()) throw Failure(abi::kGraphInvalidTensor, "graph '" + name_ + "' has no " + what + " tensor with id " + std::to_string(tensor.v1.id));
    const TensorInfo& info = *port->tensor;
    std::byte*& address = addresses[static_cast<size_t>(port - ports.begin())];
    if (address != nullptr) throw Failure(abi::kGraphInvalidArgument, "'" + info.name + "' is given twice");
    if (tensor.v1.mem_type == abi::TensorMemType::kMemHandle) {
      auto memory = lookup<SharedMemory>(tensor.v1.mem);
      if (memory == nullptr || memory->owner() != &context) throw Failure(abi::kMemInvalidHandle, "the memory of '" + info.name + "' is not registered with its context");
      memory->require_fits(info);
      address = memory->data();
      execution.memory.push_back(std::move(memory));
      continue;
    }
    if (tensor.v1.mem_type != abi::TensorMemType::kRaw) throw Failure(abi::kMemUnsupportedType, "'" + info.name + "' is neither in a plain buffer nor in registered memory");
    if (tensor.v1.client.data == nullptr || tensor.v1.client.size != info.bytes()) {
      throw Failure(abi::kGraphInvalidArgument, "'" + info.name + "' needs a buffer of " + std::to_string(info.bytes()) + " bytes but got " +
                                                    std::to_string(tensor.v1.client.data == nullptr ? 0 : tensor.v1.client.size));
    }
    address = static_cast<std::byte*>(tensor.v1.client.data);
  }
  return addresses;
}

Execution Graph::bind(const Context& context, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs) const {
  if (!finalized()) throw Failure(abi::kGraphNotFinalized, "graph '" + name_ + "' is not finalized");
  Execution execution;
  execution.inputs = bind_ports(context, inputs_, inputs, "input", execution);
  execution.outputs = bind_ports(context, outputs_, outputs, "output", execution);
  return execution;
}

void Graph::execute(Context& context, std::byte* arena, const Execution& execution) {
  const auto start = Clock::now();
  const std::vector<SlotInfo>& slots = schedule_.slots();
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].where == SlotInfo::Where::kArena) memory_[i] = arena + slots[i].offset;
    // The kernels take one kind of pointer; nothing writes to a constant.
    if (slots[i].where == SlotInfo::Where::kStatic) memory_[i] = const_cast<std::byte*>(slots[i].constant);
  }
  for (size_t i = 0; i < inputs_.size(); ++i) memory_[inputs_[i].slot] = execution.inputs[i];
  for (size_t i = 0; i < outputs_.size(); ++i) memory_[outputs_[i].slot] = execution.outputs[i];
  Runner& runner = context.backend().runner();
  if (execution.profile == nullptr) {
    schedule_.run(memory_, runner, execution.watch.get());
    return;
  }
  std::vector<ProfileEvent> nodes;
  if (execution.profile->detailed()) {
    std::vector<double> seconds(nodes_.size(), 0.0);
    schedule_.run_timed(memory_, runner, execution.watch.get(), [&](uint32_t node, double time) { seconds[node] += time; });
    for (size_t i = 0; i < nodes_.size(); ++i) nodes.push_back(time_event(abi::ProfileEventType::kNode, nodes_[i].name, microseconds(seconds[i])));
  } else {
    schedule_.run(memory_, runner, execution.watch.get());
  }
  // The events of an HTP: threads, time of the accelerator with its nodes, time of the call with its wait.
  const auto end = Clock::now();
  ProfileEvent accelerator = time_event(abi::ProfileEventType::kHtpExecuteAccelUs, "accelerator", microseconds(end - start));
  accelerator.parts = std::move(nodes);
  ProfileEvent call = time_event(abi::ProfileEventType::kExecute, name_, microseconds(end - execution.asked));
  if (execution.profile->detailed()) call.parts.push_back(time_event(abi::ProfileEventType::kExecuteQueueWait, "queue", microseconds(start - execution.asked)));
  std::vector<ProfileEvent> events;
  events.emplace_back(abi::ProfileEventType::kHtpHvxThreads, abi::ProfileUnit::kCount, runner.threads(), "threads");
  events.push_back(std::move(accelerator));
  events.push_back(std::move(call));
  execution.profile->record(events);
}

}  // namespace lutra::hostnpu
