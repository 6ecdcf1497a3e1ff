// What the typed QNN API hands to JavaScript. However a handle ends, its native object lives on while others that were made from it do.
#pragma once

#include <napi.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "napi/handle.h"
#include "napi/qnn_runner.h"
#include "qnn/graph.h"
#include "qnn/system.h"

namespace lutra::addon {

/// A library, and the system interface beside it, opened when it is first asked for.
struct LibraryCore {
  std::shared_ptr<const qnn::Library> library;
  std::shared_ptr<const qnn::System> system;
  bool host = false;
  bool quiet = true;
};

/// A context with the order in which threads may use it: executions share it, calls that change or read all of it have it to themselves.
struct ContextCore {
  explicit ContextCore(std::shared_ptr<qnn::Context> made) : context(std::move(made)) {}

  /// The context for a call on JavaScript's thread; waits for executions under way. Throws Error(kBusy) while a graph is being finalized in the background, which may take minutes.
  std::unique_lock<std::shared_mutex> exclusive();
  /// One execution at a time of each graph, however often it was retrieved. JavaScript's thread.
  std::shared_ptr<std::mutex> turn_of(const std::string& graph);

  std::shared_ptr<qnn::Context> context;
  std::shared_mutex mutex;
  std::atomic<uint32_t> finalizing = 0;

 private:
  std::map<std::string, std::shared_ptr<std::mutex>> turns_;
};

struct ProfileCore {
  explicit ProfileCore(qnn::Profile made) : profile(std::move(made)) {}
  qnn::Profile profile;
  std::mutex mutex;                   // held by the call that is being profiled
  std::atomic<uint32_t> pending = 0;  // calls in the background that will use it
};

struct BuilderCore {
  BuilderCore(std::shared_ptr<ContextCore> in, std::string graph, const qnn::GraphOptions& options)
      : context(std::move(in)), name(std::move(graph)), builder(context->context, name, options) {}
  std::shared_ptr<ContextCore> context;
  std::string name;
  qnn::GraphBuilder builder;
  std::vector<std::vector<std::byte>> constants;  // what the builder's descriptions point at
};

struct GraphCore {
  GraphCore(std::shared_ptr<ContextCore> in, qnn::Graph made) : context(std::move(in)), graph(std::move(made)), turn(context->turn_of(graph.name())) {}
  std::shared_ptr<ContextCore> context;
  qnn::Graph graph;
  std::shared_ptr<std::mutex> turn;
};

class GraphHandle : public Owner<GraphCore> {
 public:
  explicit GraphHandle(std::shared_ptr<GraphCore> core) : Owner(std::move(core), "graph") {}
  void dispose() override {
    if (runner_ != nullptr) runner_->cancel();
    runner_.reset();
    Owner::dispose();
  }
  /// Made when the first call in the background comes.
  Runner& runner(Napi::Env env, Environment& environment) {
    if (runner_ == nullptr) runner_ = Runner::create(env, environment);
    return *runner_;
  }
  bool busy() const noexcept { return runner_ != nullptr && runner_->pending() > 0; }

 private:
  std::shared_ptr<Runner> runner_;
};

using LibraryHandle = Owner<LibraryCore>;
using BackendHandle = Owner<qnn::Backend>;
using DeviceHandle = Owner<qnn::Device>;
using VoteHandle = Owner<qnn::PowerVote>;
using ContextHandle = Owner<ContextCore>;
using ProfileHandle = Owner<ProfileCore>;
using BuilderHandle = Owner<BuilderCore>;

}  // namespace lutra::addon
