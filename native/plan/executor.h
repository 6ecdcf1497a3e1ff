// Runs the programs of a plan: steps bound once to memory, weights and kernels, then run in order without allocating.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/aligned.h"
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "kernels/shadow/shadow.h"
#include "kv/cache.h"
#include "plan/memory.h"
#include "plan/observation.h"
#include "plan/plan.h"
#include "plan/segment_runner.h"
#include "store/weight_store.h"

namespace lutra::plan {

/// Where a call's time went, in nanoseconds, and what was repaired.
struct RunStats {
  uint64_t npu_ns = 0;  // inside the library's calls
  uint64_t cpu_ns = 0;  // CPU steps without shadow; only with ExecutorOptions::profile
  uint64_t attention_ns = 0;  // of cpu_ns
  uint64_t shadow_ns = 0;
  uint64_t graph_calls = 0;
  kernels::ShadowStats shadow;
};

/// Rows of a run whose rows are computed as single ones, at most.
inline constexpr uint32_t kMostSingleRows = 8;

/// One chunk: which rows are valid and where they stand.
struct Run {
  std::span<const uint32_t> tokens;  // n ≤ chunk, each < vocab
  uint32_t position = 0;             // of tokens[0] in the KV cache
  uint32_t logit_rows = 0;           // 0, 1 (the last row) or n (all)
  RunStats* stats = nullptr;
  bool as_single_rows = false;       // at most kMostSingleRows, each to the last bit as in a run of its own: no other kernels because there are several

  uint32_t rows() const noexcept { return static_cast<uint32_t>(tokens.size()); }
  /// What `n` rows of a step count as when its kernel is picked.
  uint32_t kernel_rows(uint32_t n) const noexcept { return as_single_rows ? 1 : n; }
};

/// How much of the weights that repairs read stays in memory between chunks: all that was read; the rows of hot channels, as a copy; nothing.
enum class ShadowResidency { kAll, kHot, kDisk };

/// Bytes of the weights that repairs read, and of the copies of hot rows.
struct ShadowMemory {
  uint64_t weights = 0, pinned = 0;
};

struct ExecutorOptions {
  uint32_t threads = 1;
  Isa isa = Isa::kPortable;
  bool keep_activations = false;  // nothing shares memory, so that peek() sees every value
  bool profile = false;           // time every step
  ShadowResidency shadow_residency = ShadowResidency::kAll;
};

class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual void run(const Run& run) = 0;
  /// What the step's time counts as. An NPU step counts the time inside the library itself.
  enum class Where { kNpu, kCpu, kAttention, kShadow };
  virtual Where where() const { return Where::kCpu; }
};

class Executor {
 public:
  /// Borrows everything; `segments` may be nullptr when no program has a segment step. Weights are looked up and checked here:
  /// throws Error(kNotFound, kBadFile) that names the tensor.
  Executor(const Plan& plan, const store::WeightStore& weights, kv::KvCache& cache, ThreadPool& pool, SegmentRunner* segments, const ExecutorOptions& options);
  ~Executor();

  /// Runs one chunk. `run.tokens` must be valid for the plan; the KV cache grows as kv_append steps write, its length is the caller's to set.
  /// Throws Error(kAborted) between steps when `stop` is set.
  void run(const Program& program, const Run& run, const std::atomic<bool>& stop);

  /// Logits of the last run of `program`: [run.logit_rows, vocab].
  std::span<const float> logits(const Program& program, const Run& run) const;

  /// Values of an activation after `run` of `program`, as F32 [valid rows, cols]. Throws Error: kNotFound (`program` does not make it), kInvalidArgument (memory is
  /// shared, so that it may hold another tensor by now).
  std::vector<float> peek(const Program& program, std::string_view tensor, const Run& run) const;

  /// Statistics of the `observe` steps by site.
  std::map<uint32_t, Observation>& observations() noexcept { return observations_; }
  const std::map<uint32_t, Observation>& observations() const noexcept { return observations_; }
  size_t activation_bytes() const noexcept { return memory_.bytes; }
  const ShadowMemory& shadow_memory() const noexcept { return shadow_memory_; }

 private:
  friend class Binder;
  const Plan& plan_;
  MemoryPlan memory_;
  AlignedBuffer arena_;
  AlignedBuffer scratch_;
  std::map<uint32_t, Observation> observations_;
  ShadowMemory shadow_memory_;
  std::vector<std::vector<std::unique_ptr<StepRunner>>> programs_;  // as plan_.programs
  bool keep_activations_;
  bool profile_;
};

}  // namespace lutra::plan
