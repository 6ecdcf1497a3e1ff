// A graph: tensors and nodes while it is built, a schedule once it is finalized.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hostnpu/backend.h"
#include "hostnpu/profile.h"
#include "hostnpu/schedule.h"

namespace lutra::hostnpu {

class Context;

/// Calls that change a graph are serialised by its context's build lock, executions by its run lock.
class Graph : public Object {
 public:
  static constexpr Kind kKind = Kind::kGraph;
  Graph(std::weak_ptr<Context> context, std::string name) : Object(kKind), context_(std::move(context)), name_(std::move(name)) {}

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
  /// Packs the constant weights, plans the work and the memory. Throws Failure; the graph is unusable then.
  void finalize(Backend& backend, Context& context);

  /// Throws Failure when the tensors are not the graph's inputs and outputs with buffers of the right sizes.
  void execute(Context& context, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs, Profile* profile);

 private:
  enum class State : uint8_t { kOpen, kFinalized, kFailed };
  struct Port {
    std::shared_ptr<const TensorInfo> tensor;
    Slot slot;
  };
  void require_open() const;
  void plan(Backend& backend);
  void bind(const std::vector<Port>& ports, std::span<const abi::Tensor> tensors, const char* what);

  std::weak_ptr<Context> context_;
  std::string name_;
  State state_ = State::kOpen;
  std::vector<std::shared_ptr<TensorInfo>> tensors_;
  std::unordered_map<uint32_t, size_t> by_id_;
  std::unordered_set<std::string> names_;
  std::unordered_set<uint32_t> written_;  // ids of tensors that a node writes
  std::vector<Node> nodes_;

  Schedule schedule_;
  std::vector<Port> inputs_, outputs_;
  std::vector<std::byte*> memory_;  // by slot; used under the context's run lock
};

}  // namespace lutra::hostnpu
