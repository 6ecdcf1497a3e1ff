// What the typed QNN API hands to JavaScript: tagged objects that own native ones.
//
// A handle may be disposed of, or left to the garbage collector; either way the native object lives on while others that were made from it do. JavaScript cannot make handles
// or confuse them: every use checks the tag and the kind.
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
#include "napi/qnn_runner.h"
#include "qnn/graph.h"
#include "qnn/system.h"

namespace lutra::addon {

class Handle {
 public:
  virtual ~Handle() = default;
  /// Gives up what the handle owns; later uses are LUTRA_DISPOSED. Idempotent.
  virtual void dispose() = 0;
};

/// A new JavaScript object that owns `handle`.
Napi::Object wrap(Napi::Env env, std::shared_ptr<Handle> handle);
/// Throws Error(kInvalidArgument) when `value` was not made by wrap.
std::shared_ptr<Handle> unwrap(const Napi::Value& value, const char* name);

template <class T>
std::shared_ptr<T> unwrap_as(const Napi::Value& value, const char* name) {
  auto handle = std::dynamic_pointer_cast<T>(unwrap(value, name));
  if (handle == nullptr) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is a QNN object of another kind");
  return handle;
}

/// A handle of one shared object.
template <class T>
class Owner : public Handle {
 public:
  Owner(std::shared_ptr<T> value, const char* what) : value_(std::move(value)), what_(what) {}
  void dispose() override { value_.reset(); }
  const std::shared_ptr<T>& get() const {
    if (value_ == nullptr) throw Error(ErrorCode::kDisposed, std::string("the ") + what_ + " was disposed of", "make a new one");
    return value_;
  }

 private:
  std::shared_ptr<T> value_;
  const char* what_;
};

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
