#include "hostnpu/context.h"

namespace lutra::hostnpu {

std::shared_ptr<Graph> Context::create_graph(const std::string& name) {
  if (name.empty()) throw Failure(abi::kGraphInvalidName, "a graph has an empty name");
  if (find_graph(name) != nullptr) throw Failure(abi::kGraphInvalidName, "the context has a graph '" + name + "' already");
  graphs_.push_back(std::make_shared<Graph>(weak_from_this(), name));
  return graphs_.back();
}

std::shared_ptr<Graph> Context::find_graph(std::string_view name) const noexcept {
  for (const auto& graph : graphs_) {
    if (graph->name() == name) return graph;
  }
  return nullptr;
}

abi::GraphHandle Context::handle_of(const std::shared_ptr<Graph>& graph) {
  for (const auto& [known, handle] : handles_) {
    if (known == graph.get()) return handle;
  }
  const auto handle = publish<abi::GraphHandle>(graph);
  handles_.emplace_back(graph.get(), handle);
  return handle;
}

void Context::revoke_handles() noexcept {
  for (const auto& [graph, handle] : handles_) release<Graph>(handle);
  handles_.clear();
}

void Context::add_tensor(std::shared_ptr<TensorInfo> tensor) {
  if (!tensor->is_static()) throw Failure(abi::kTensorUnsupportedParam, "tensor '" + tensor->name + "' of a context is not STATIC");
  for (const auto& one : tensors_) {
    if (one->name == tensor->name || one->id == tensor->id) throw Failure(abi::kTensorAlreadyExists, "the context has a tensor '" + tensor->name + "' already");
  }
  tensors_.push_back(std::move(tensor));
}

std::shared_ptr<TensorInfo> Context::tensor(uint32_t id) const noexcept {
  for (const auto& one : tensors_) {
    if (one->id == id) return one;
  }
  return nullptr;
}

void Context::reserve_arena(size_t bytes) {
  const std::lock_guard lock(run_mutex_);
  if (arena_.size() < bytes) arena_ = AlignedBuffer(bytes);
}

}  // namespace lutra::hostnpu
