// A graph: tensors and nodes while it is built, a schedule once it is finalized.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hostnpu/backend.h"
#include "hostnpu/shared_memory.h"
#include "hostnpu/profile.h"
#include "hostnpu/schedule.h"
#include "hostnpu/settings.h"

namespace lutra::hostnpu {

class Context;

/// The checked arguments of one execution: where its inputs and outputs lie, and what is to come of it.
struct Execution {
  std::vector<std::byte*> inputs, outputs;      // in the order of the graph's
  std::vector<std::shared_ptr<SharedMemory>> memory;  // stays mapped for so long
  std::shared_ptr<Profile> profile;             // may be empty, as `watch`
  std::shared_ptr<Watch> watch;
  std::chrono::steady_clock::time_point asked = std::chrono::steady_clock::now();
};

/// Calls that change a graph are serialised by its context's build lock, executions by their turns.
class Graph : public Object {
 public:
  static constexpr Kind kKind = Kind::kGraph;
  Graph(std::weak_ptr<Context> context, std::string name) : Object(kKind), context_(std::move(context)), name_(std::move(name)) {}
  ~Graph() override;

  const std::string& name() const noexcept { return name_; }
  /// Empty when the context has been freed.
  std::shared_ptr<Context> context() const noexcept { return context_.lock(); }
  bool finalized() const noexcept { return state_ == State::kFinalized; }
  /// In the order of their creation.
  const std::vector<std::shared_ptr<TensorInfo>>& tensors() const noexcept { return tensors_; }
  const std::vector<Node>& nodes() const noexcept { return nodes_; }

  /// The tensor's id is set already.
  void add_tensor(std::shared_ptr<TensorInfo> tensor);
  void add_node(Node node, const Backend& backend);
  /// The tensor of that id, of this graph. Empty when there is none.
  std::shared_ptr<TensorInfo> tensor(uint32_t id) const noexcept;
  /// Packs the constant weights, plans the work and the memory. `profile` and `watch` may be NULL. Throws Failure; the graph is unusable then.
  void finalize(Context& context, Profile* profile, const Watch* watch);

  /// Throws Failure: kGraphProfileInUse when another graph has the profile.
  void apply(const GraphSettings& settings);
  /// What a call records into: what it was given, or what is bound to the graph. Throws Failure when there are both.
  std::shared_ptr<Profile> profile_of_call(std::shared_ptr<Profile> given, bool execution);

  /// Throws Failure when the graph is not finalized or the tensors are not its inputs and outputs with memory of the right sizes.
  Execution bind(const Context& context, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs) const;
  /// Computes in the turn of a Context::Run, whose arena this is. Throws the Failure of the watch.
  void execute(Context& context, std::byte* arena, const Execution& execution);

 private:
  enum class State : uint8_t { kOpen, kFinalized, kFailed };
  struct Port {
    std::shared_ptr<const TensorInfo> tensor;
    Slot slot;
  };
  void require_open() const;
  std::vector<ProfileEvent> plan(Backend& backend, const Watch* watch);
  std::vector<std::byte*> bind_ports(const Context& context, const std::vector<Port>& ports, std::span<const abi::Tensor> tensors, const char* what, Execution& execution) const;

  std::weak_ptr<Context> context_;
  std::string name_;
  std::atomic<State> state_ = State::kOpen;
  std::vector<std::shared_ptr<TensorInfo>> tensors_;
  std::unordered_map<uint32_t, size_t> by_id_;
  std::unordered_set<std::string> names_;
  std::unordered_set<uint32_t> written_;  // ids of tensors that a node writes
  std::vector<Node> nodes_;

  Schedule schedule_;
  std::vector<Port> inputs_, outputs_;
  std::vector<std::byte*> memory_;  // by slot; used by the execution whose turn it is

  std::mutex profiling_mutex_;
  std::shared_ptr<Profile> bound_profile_;
  bool profiling_ = true;
  uint32_t profiled_executions_ = UINT32_MAX;  // still to come
};

}  // namespace lutra::hostnpu
