#include "hostnpu/context.h"

#include <algorithm>

#include "hostnpu/shared_memory.h"

namespace lutra::hostnpu {

void Context::apply(const ContextSettings& settings) {
  if (settings.queue_depth) queue_.set_depth(*settings.queue_depth);
}

void Context::close() {
  {
    const std::lock_guard lock(build_mutex_);
    closed_ = true;
    for (const auto& [graph, handle] : handles_) release<Graph>(handle);
    handles_.clear();
  }
  handles().remove_if(Kind::kMemory, [this](const Object& memory) { return static_cast<const SharedMemory&>(memory).owner() == this; });
  queue_.close();
}

std::unique_lock<std::mutex> Context::building() {
  std::unique_lock lock(build_mutex_);
  if (closed_) throw Failure(abi::kContextInvalidHandle, "the context has been freed");
  return lock;
}

bool Context::is_disabled(std::string_view name) const noexcept { return std::find(disabled_.begin(), disabled_.end(), name) != disabled_.end(); }

std::shared_ptr<Graph> Context::create_graph(const std::string& name, const GraphSettings& settings) {
  if (name.empty()) throw Failure(abi::kGraphInvalidName, "a graph has an empty name");
  if (find_graph(name) != nullptr) throw Failure(abi::kGraphInvalidName, "the context has a graph '" + name + "' already");
  const auto graph = std::make_shared<Graph>(weak_from_this(), name);
  graph->apply(settings);
  graphs_.push_back(graph);
  return graph;
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

void Context::Run::reserve(size_t bytes) const {
  if (context_.arena_.size() < bytes) context_.arena_ = AlignedBuffer(bytes);
}

}  // namespace lutra::hostnpu
