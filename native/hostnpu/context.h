// A context: graphs, the constants that they share, and the one arena in which they compute.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "hostnpu/graph.h"

namespace lutra::hostnpu {

class Context : public Object, public std::enable_shared_from_this<Context> {
 public:
  static constexpr Kind kKind = Kind::kContext;
  explicit Context(std::shared_ptr<Backend> backend) : Object(kKind), backend_(std::move(backend)) {}

  Backend& backend() const noexcept { return *backend_; }
  /// Held by calls that create, change or write out graphs.
  std::mutex& build_mutex() noexcept { return build_mutex_; }

  // Under the build lock:
  /// Throws Failure when the name is taken or empty.
  std::shared_ptr<Graph> create_graph(const std::string& name);
  std::shared_ptr<Graph> find_graph(std::string_view name) const noexcept;
  const std::vector<std::shared_ptr<Graph>>& graphs() const noexcept { return graphs_; }
  /// The graph's handle, made at the first call.
  abi::GraphHandle handle_of(const std::shared_ptr<Graph>& graph);
  /// Graph handles end with their context.
  void revoke_handles() noexcept;
  /// STATIC tensors only; shared by the graphs of this context.
  void add_tensor(std::shared_ptr<TensorInfo> tensor);
  const std::vector<std::shared_ptr<TensorInfo>>& tensors() const noexcept { return tensors_; }
  std::shared_ptr<TensorInfo> tensor(uint32_t id) const noexcept;
  /// Ids are unique in a context, from 1.
  uint32_t new_id() noexcept { return next_id_++; }
  /// So that new ids do not collide with those of a context binary.
  void reserve_ids(uint32_t last) noexcept { next_id_ = last >= next_id_ ? last + 1 : next_id_; }

  /// Memory for computing: one arena as large as the largest graph needs, because executions of a context run one after the other.
  class Run {
   public:
    explicit Run(Context& context) : lock_(context.run_mutex_), arena_(context.arena_) {}
    std::byte* arena() const noexcept { return arena_.data(); }

   private:
    std::lock_guard<std::mutex> lock_;
    AlignedBuffer& arena_;
  };
  void reserve_arena(size_t bytes);

 private:
  std::shared_ptr<Backend> backend_;
  std::mutex build_mutex_, run_mutex_;
  uint32_t next_id_ = 1;
  std::vector<std::shared_ptr<TensorInfo>> tensors_;
  std::vector<std::shared_ptr<Graph>> graphs_;
  std::vector<std::pair<const Graph*, abi::GraphHandle>> handles_;
  AlignedBuffer arena_;
};

}  // namespace lutra::hostnpu
