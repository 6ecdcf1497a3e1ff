// One model with one KV cache: prefill in chunks, generate token by token. Not thread safe but for acknowledge() and stop(): the owner calls everything
// else from one thread at a time.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernels/sample/logprobs.h"
#include "kernels/sample/sample.h"
#include "plan/executor.h"
#include "session/lookahead.h"
#include "session/npu_segments.h"

namespace lutra::session {

struct EngineOptions {
  std::vector<std::byte> plan;
  std::vector<std::string> files;  // safetensors
  NpuOptions npu;
  uint32_t threads = 1;
  ContextCache cache;
  qnn::LogOptions log;
  std::shared_ptr<CallWatch> watch;  // of the calls into an external library; may be null
  bool keep_activations = false;
  bool profile = false;
  plan::ShadowResidency shadow_residency = plan::ShadowResidency::kAll;
};

struct EngineInfo {
  struct Segment { std::string name; size_t nodes; };
  std::optional<qnn::LibraryInfo> backend;
  std::vector<Segment> segments;
  bool from_cache = false;
  double map_ms = 0, plan_ms = 0, graphs_ms = 0;
  uint64_t weight_bytes = 0, activation_bytes = 0, kv_bytes = 0;
  plan::ShadowMemory shadow;
  std::string kernels;
};

enum class LogitsWanted { kNone, kLast, kAll };

struct GenerateOptions {
  uint32_t max_tokens = 0;
  kernels::SampleOptions sampling;
  uint32_t repetition_window = 64;
  std::vector<uint32_t> stop_tokens;
  uint32_t run_ahead = 32;
  std::optional<uint32_t> logprobs;  // probabilities of each token and of this many others are wanted
  uint32_t draft_tokens = 0;  // most guesses in a step (lookahead.h), at most kMostDrafts; 0: none
};

enum class FinishReason { kStop, kLength, kContext, kAborted };
const char* finish_reason_name(FinishReason reason) noexcept;

/// Of the last prefill and the last generate.
struct Timings {
  uint32_t prefill_tokens = 0, decode_tokens = 0;
  uint32_t drafted_tokens = 0, accepted_tokens = 0;  // guesses that were computed, and those that were right
  double prefill_ms = 0, decode_ms = 0;
  plan::RunStats prefill, decode;
};

class Engine {
 public:
  /// Maps the files, checks the plan, builds or loads the graphs. Throws Error.
  explicit Engine(EngineOptions options);
  ~Engine();

  const EngineInfo& info() const noexcept { return info_; }
  /// Of the calls that have ended. From any thread.
  Timings timings() const;
  uint32_t length() const noexcept { return static_cast<uint32_t>(history_.size()); }

  /// Appends tokens to the KV cache, chunk by chunk. Returns the logits wanted: [vocab], [tokens × vocab] or nothing. On any error, also kAborted, the cache is as before.
  /// Throws Error: kInvalidArgument (no tokens, a token outside the vocabulary, unknown program), kContextFull, kAborted, kQnnCall.
  std::vector<float> prefill(std::span<const uint32_t> tokens, LogitsWanted wanted, std::string_view program);

  struct Generated { FinishReason reason; uint32_t tokens; };
  /// A token, and its probability with those of others (kernels::logprobs) where they are wanted; empty otherwise.
  using Deliver = std::function<void(uint32_t token, std::span<const kernels::Logprob> logprobs)>;
  /// Continues from the last logits. `deliver` gets every token; the loop runs at most `run_ahead` tokens ahead of acknowledge(). Every delivered token is in the KV cache
  /// afterwards, except one that filled the context. With draft_tokens the same tokens come out.
  /// Throws Error(kInvalidArgument) when there are no logits to continue from.
  Generated generate(const GenerateOptions& options, const Deliver& deliver);

  /// Compares the library with the host NPU on one chunk of tokens that are always the same (NpuCheck). The cache is empty before and after. Throws
  /// Error(kInvalidArgument) when it is not, or when the plan has no segments, and as prefill does.
  NpuVerdict check_npu();

  /// Forgets positions from `length` on. Logits to continue from are gone unless nothing was cut. Throws Error(kInvalidArgument) when longer than the cache.
  void truncate(uint32_t length);

  /// Values of an activation after the last chunk or token (plan::Executor::peek).
  std::vector<float> peek(std::string_view tensor) const;
  /// Statistics of the `observe` steps by site.
  std::map<uint32_t, plan::Observation>& observations() noexcept { return executor_->observations(); }

  /// From any thread.
  void acknowledge(uint32_t count);
  void stop();
  /// Before each prefill or generate: forgets an earlier stop().
  void clear_stop();

 private:
  void run_chunk(const plan::Program& program, plan::Run run);
  void decode(uint32_t token, Drafts& drafts);
  void publish_timings();
  bool wait_for_reader(uint32_t delivered, uint32_t run_ahead);

  std::shared_ptr<CallWatch> watch_;
  plan::Plan plan_;
  std::optional<store::WeightStore> weights_;
  std::unique_ptr<ThreadPool> pool_;
  std::unique_ptr<kv::KvCache> cache_;
  std::unique_ptr<NpuSegments> segments_;
  std::unique_ptr<plan::Executor> executor_;
  const plan::Program* decode_program_ = nullptr;
  EngineInfo info_;
  Timings timings_;  // of the call under way
  std::vector<uint32_t> history_;     // tokens in the KV cache
  std::span<const float> last_logits_;  // of the last token, in the executor's memory until the next run; empty when unknown
  const plan::Program* last_program_ = nullptr;
  plan::Run last_run_;
  std::vector<uint32_t> last_tokens_;

  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;
  std::condition_variable reader_;
  // Guarded by mutex_:
  uint64_t acknowledged_ = 0;
  Timings published_;
};

}  // namespace lutra::session
