// A context: graphs, the constants that they share, and the one arena in which they compute.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "hostnpu/graph.h"
#include "hostnpu/queue.h"
#include "hostnpu/settings.h"
#include "hostnpu/turns.h"

namespace lutra::hostnpu {

class Context : public Object, public std::enable_shared_from_this<Context> {
 public:
  static constexpr Kind kKind = Kind::kContext;
  explicit Context(std::shared_ptr<Backend> backend) : Object(kKind), backend_(std::move(backend)), queue_(turns_) {}

  Backend& backend() const noexcept { return *backend_; }
  void apply(const ContextSettings& settings);
  ExecutionQueue& queue() noexcept { return queue_; }
  /// Ends the handles of graphs and registered memory and the executions that nobody waits for.
  void close();

  /// The lock of calls that create, change or write out graphs. Throws Failure when the context has been freed meanwhile.
  std::unique_lock<std::mutex> building();

  // Under the build lock:
  /// Throws Failure when the name is taken or empty, or as Graph::apply does.
  std::shared_ptr<Graph> create_graph(const std::string& name, const GraphSettings& settings = {});
  std::shared_ptr<Graph> find_graph(std::string_view name) const noexcept;
  /// A graph of the binary that the context was made from, which its configuration left out.
  void add_disabled(std::string name) { disabled_.push_back(std::move(name)); }
  bool is_disabled(std::string_view name) const noexcept;
  const std::vector<std::shared_ptr<Graph>>& graphs() const noexcept { return graphs_; }
  /// The graph's handle, made at the first call.
  abi::GraphHandle handle_of(const std::shared_ptr<Graph>& graph);
  /// STATIC tensors only; shared by the graphs of this context.
  void add_tensor(std::shared_ptr<TensorInfo> tensor);
  const std::vector<std::shared_ptr<TensorInfo>>& tensors() const noexcept { return tensors_; }
  std::shared_ptr<TensorInfo> tensor(uint32_t id) const noexcept;
  /// Ids are unique in a context, from 1.
  uint32_t new_id() noexcept { return next_id_++; }
  /// So that new ids do not collide with those of a context binary.
  void reserve_ids(uint32_t last) noexcept { next_id_ = last >= next_id_ ? last + 1 : next_id_; }

  /// The turn of one execution, and the memory to compute in: one arena as large as the largest graph needs, because executions of a context run one after the other.
  class Run {
   public:
    explicit Run(Context& context) : Run(context, context.turns_.draw()) {}
    Run(Context& context, Turns::Ticket ticket) : context_(context) { context.turns_.await(ticket); }
    ~Run() { context_.turns_.pass(); }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;
    std::byte* arena() const noexcept { return context_.arena_.data(); }
    /// Makes the arena so large.
    void reserve(size_t bytes) const;

   private:
    Context& context_;
  };

 private:
  std::shared_ptr<Backend> backend_;
  std::mutex build_mutex_;
  bool closed_ = false;
  uint32_t next_id_ = 1;
  std::vector<std::shared_ptr<TensorInfo>> tensors_;
  std::vector<std::shared_ptr<Graph>> graphs_;
  std::vector<std::string> disabled_;
  std::vector<std::pair<const Graph*, abi::GraphHandle>> handles_;
  AlignedBuffer arena_;
  Turns turns_;
  ExecutionQueue queue_;
};

}  // namespace lutra::hostnpu
