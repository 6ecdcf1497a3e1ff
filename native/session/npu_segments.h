// The NPU segments of a plan as QNN graphs: built from the plan and the weights, or taken from a context binary that was made from the same things.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "plan/executor.h"
#include "plan/plan.h"
#include "plan/segment_runner.h"
#include "qnn/graph.h"
#include "session/call_watch.h"
#include "session/npu_check.h"
#include "store/weight_store.h"

namespace lutra::session {

/// Which NPU library to open. Neither `host` nor a path: none.
struct NpuOptions {
  enum class Kind { kNone, kHost, kLibrary };
  Kind kind = Kind::kNone;
  std::string path;             // kLibrary: absolute
  std::optional<uint32_t> soc;  // kLibrary
  std::vector<qnn::Measurement> measurements = {};  // kLibrary
  qnn::PowerMode power = qnn::PowerMode::kBurst;
};

/// A file that may hold the context binary, and the key it must carry: a digest of all that the graphs depend on and that the caller knows (plan, weights, SoC). The
/// library's build id is added here.
struct ContextCache {
  std::string file;  // empty: no cache
  std::string key;
  bool read_only = false;  // what has to be built is not written
};

/// Opens the library, backend and device. `pool` is lent to the host NPU and must outlive the backend. `watch` may be null.
std::shared_ptr<qnn::Device> open_npu(const NpuOptions& options, ThreadPool& pool, qnn::LogOptions log, CallWatch* watch = nullptr);

class NpuSegments final : public plan::SegmentRunner {
 public:
  /// Retrieves the graphs from the cache when its key matches, else builds all of them and writes the cache (a binary that cannot be had or written is
  /// ignored: it costs time, not correctness). Weights that no CPU step reads are released from memory once the library has its copy; so are those that only repairs read, unless
  /// they stay by `residency`.
  /// `watch`, which may be null, sees every call. Throws Error as qnn does, naming the segment's node.
  NpuSegments(const plan::Plan& plan, const store::WeightStore& weights, std::shared_ptr<qnn::Device> device, const ContextCache& cache, CallWatch* watch = nullptr,
              plan::ShadowResidency residency = plan::ShadowResidency::kAll);
  ~NpuSegments() override;
  NpuSegments(const NpuSegments&) = delete;
  NpuSegments& operator=(const NpuSegments&) = delete;

  void bind(uint32_t segment, std::span<std::byte* const> inputs, std::span<std::byte* const> outputs) override;
  void execute(uint32_t segment) override;

  /// From now on executions go through `check`, until it is null again. Not owned.
  void compare_with(NpuCheck* check) noexcept { check_ = check; }

  /// How fast the NPU shall be while it is awake. Without it the NPU chooses by itself.
  void vote(qnn::PowerMode mode);
  /// Before executions, and after the last one: a phone gets warm by clocks that nobody uses.
  void wake();
  void rest();

  bool from_cache() const noexcept { return from_cache_; }

 private:
  struct Bound {
    qnn::Graph graph;
    std::vector<std::span<const std::byte>> inputs;
    std::vector<std::span<std::byte>> outputs;
  };

  bool load(const plan::Plan& plan, const ContextCache& cache, const std::string& key);
  void build(const plan::Plan& plan, const store::WeightStore& weights, const ContextCache& cache, const std::string& key, plan::ShadowResidency residency);

  CallWatch* watch_;
  NpuCheck* check_ = nullptr;
  std::shared_ptr<qnn::Device> device_;
  std::shared_ptr<qnn::Context> context_;
  std::optional<qnn::PowerVote> power_;
  std::vector<Bound> graphs_;
  bool from_cache_ = false;
};

}  // namespace lutra::session
