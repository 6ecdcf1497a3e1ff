#include "session/engine.h"

#include <algorithm>
#include <chrono>

#include "base/cores.h"
#include "base/cpu.h"

namespace lutra::session {
namespace {

using Clock = std::chrono::steady_clock;

/// Calls `action` when it goes, however the scope ends.
template <class Action>
struct AtExit {
  Action action;
  ~AtExit() { action(); }
};

double ms_since(Clock::time_point begin) { return std::chrono::duration<double, std::milli>(Clock::now() - begin).count(); }

}  // namespace

const char* finish_reason_name(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kContext: return "context";
    case FinishReason::kAborted: return "aborted";
  }
  return "stop";
}

Engine::Engine(EngineOptions options) : watch_(std::move(options.watch)) {
  auto begin = Clock::now();
  weights_ = store::WeightStore::open(options.files);
  info_.map_ms = ms_since(begin);

  begin = Clock::now();
  plan_ = plan::Plan::parse(options.plan);
  decode_program_ = plan_.find_program("cpu");
  prefer_big_cores(options.threads);  // this thread is the engine's, and it starts the pool's
  pool_ = std::make_unique<ThreadPool>(options.threads);
  const plan::Config& c = plan_.config;
  cache_ = std::make_unique<kv::KvCache>(kv::Shape{c.layers, c.kv_heads, c.head_dim, c.max_context}, c.kv_type);
  info_.plan_ms = ms_since(begin);

  begin = Clock::now();
  if (!plan_.segments.empty()) {
    if (options.npu.kind == NpuOptions::Kind::kNone) throw Error(ErrorCode::kBadPlan, "plan: it has NPU segments but no NPU library was named", "build the plan for the CPU");
    auto device = open_npu(options.npu, *pool_, std::move(options.log), watch_.get());
    info_.backend = device->backend()->library().info();
    segments_ = std::make_unique<NpuSegments>(plan_, *weights_, std::move(device), options.cache, watch_.get(), options.shadow_residency);
    segments_->vote(options.npu.power);
    info_.from_cache = segments_->from_cache();
    for (const plan::Segment& s : plan_.segments) info_.segments.push_back({std::string(s.name), s.nodes.size()});
  }
  info_.graphs_ms = ms_since(begin);

  begin = Clock::now();
  const plan::ExecutorOptions executor_options{options.threads, best_isa(), options.keep_activations, options.profile, options.shadow_residency};
  executor_ = std::make_unique<plan::Executor>(plan_, *weights_, *cache_, *pool_, segments_.get(), executor_options);
  info_.plan_ms += ms_since(begin);
  weights_->check_intact();
  info_.weight_bytes = weights_->total_bytes();
  info_.activation_bytes = executor_->activation_bytes();
  info_.shadow = executor_->shadow_memory();
  info_.kv_bytes = cache_->bytes_per_position() * c.max_context;
  info_.kernels = isa_name(executor_options.isa);
}

Engine::~Engine() = default;

void Engine::run_chunk(const plan::Program& program, plan::Run run) {
  // The steps may look at the run later (peek), so it must not point into the caller's memory.
  last_tokens_.assign(run.tokens.begin(), run.tokens.end());
  run.tokens = last_tokens_;
  last_program_ = &program;
  last_run_ = run;
  last_run_.stats = nullptr;
  executor_->run(program, run, stop_);
  weights_->check_intact();
}

std::vector<float> Engine::prefill(std::span<const uint32_t> tokens, LogitsWanted wanted, std::string_view program_name) {
  const plan::Program* program = plan_.find_program(program_name);
  if (program == nullptr) throw Error(ErrorCode::kInvalidArgument, "the plan has no program '" + std::string(program_name) + "'");
  if (tokens.empty()) throw Error(ErrorCode::kInvalidArgument, "no tokens to prefill", "give at least one token");
  for (uint32_t t : tokens) {
    if (t >= plan_.config.vocab) throw Error(ErrorCode::kInvalidArgument, "token " + std::to_string(t) + " is outside the vocabulary of " + std::to_string(plan_.config.vocab));
  }
  const uint32_t start = length(), room = plan_.config.max_context - start;
  if (tokens.size() > room) {
    throw Error(ErrorCode::kContextFull, std::to_string(tokens.size()) + " tokens do not fit: " + std::to_string(room) + " of " + std::to_string(plan_.config.max_context) + " positions are free",
                "shorten the prompt or open the model with a larger context");
  }
  std::vector<float> out;
  if (wanted == LogitsWanted::kAll) out.reserve(tokens.size() * plan_.config.vocab);
  timings_ = {};
  const AtExit publish{[this] { publish_timings(); }};
  last_logits_ = {};
  const auto begin = Clock::now();
  NpuSegments* const npu = program_name == "npu" ? segments_.get() : nullptr;
  if (npu != nullptr) npu->wake();
  const AtExit doze{[npu] {
    if (npu != nullptr) npu->rest();
  }};
  try {
    for (size_t at = 0; at < tokens.size(); at += plan_.config.chunk) {
      if (stop_.load(std::memory_order_relaxed)) throw Error(ErrorCode::kAborted, "stopped by the caller");
      const auto chunk = tokens.subspan(at, std::min<size_t>(plan_.config.chunk, tokens.size() - at));
      const auto rows = static_cast<uint32_t>(chunk.size());
      const bool last = at + rows == tokens.size();
      const uint32_t logit_rows = wanted == LogitsWanted::kAll ? rows : (wanted == LogitsWanted::kLast && last ? 1 : 0);
      plan::Run run{chunk, start + static_cast<uint32_t>(at), logit_rows, &timings_.prefill};
      run_chunk(*program, run);
      const auto logits = executor_->logits(*program, run);
      if (wanted == LogitsWanted::kAll) out.insert(out.end(), logits.begin(), logits.end());
      if (last && !logits.empty()) last_logits_ = logits.last(plan_.config.vocab);
      history_.insert(history_.end(), chunk.begin(), chunk.end());
    }
  } catch (...) {
    history_.resize(start);
    last_logits_ = {};
    throw;
  }
  timings_.prefill_ms = ms_since(begin);
  timings_.prefill_tokens = static_cast<uint32_t>(tokens.size());
  if (wanted == LogitsWanted::kLast) out.assign(last_logits_.begin(), last_logits_.end());
  return out;
}

void Engine::decode(uint32_t token, Drafts& drafts) {
  last_logits_ = drafts.take(token);
  if (last_logits_.empty()) {
    const auto guesses = drafts.guess(history_, token, std::min(plan_.config.max_context - length(), plan_.config.chunk) - 1);
    std::vector<uint32_t> tokens = {token};
    tokens.insert(tokens.end(), guesses.begin(), guesses.end());
    plan::Run run{tokens, length(), static_cast<uint32_t>(tokens.size()), &timings_.decode, true};
    run_chunk(*decode_program_, run);
    const auto logits = executor_->logits(*decode_program_, run);
    last_logits_ = logits.first(plan_.config.vocab);
    drafts.computed(logits.subspan(plan_.config.vocab));
  }
  history_.push_back(token);
  timings_.drafted_tokens = drafts.drafted();
  timings_.accepted_tokens = drafts.accepted();
}

bool Engine::wait_for_reader(uint32_t delivered, uint32_t run_ahead) {
  std::unique_lock lock(mutex_);
  reader_.wait(lock, [&] { return stop_.load(std::memory_order_relaxed) || delivered < acknowledged_ + std::max(1u, run_ahead); });
  return !stop_.load(std::memory_order_relaxed);
}

Engine::Generated Engine::generate(const GenerateOptions& options, const Deliver& deliver) {
  if (decode_program_ == nullptr || last_logits_.empty()) throw Error(ErrorCode::kInvalidArgument, "there are no logits to continue from", "call prefill with logits 'last' first");
  {
    const std::lock_guard lock(mutex_);
    acknowledged_ = 0;
  }
  kernels::Sampler sampler(options.sampling);
  Drafts drafts(std::min(options.draft_tokens, kMostDrafts));
  const AtExit publish{[this] { publish_timings(); }};
  timings_.decode = {};
  timings_.decode_tokens = timings_.drafted_tokens = timings_.accepted_tokens = 0;
  timings_.decode_ms = 0;
  uint32_t delivered = 0;
  while (delivered < options.max_tokens) {
    if (stop_.load(std::memory_order_relaxed)) return {FinishReason::kAborted, delivered};
    const auto begin = Clock::now();
    const size_t window = std::min<size_t>(history_.size(), options.repetition_window);
    const uint32_t token = sampler.sample(last_logits_, std::span(history_).last(window));
    if (std::find(options.stop_tokens.begin(), options.stop_tokens.end(), token) != options.stop_tokens.end()) return {FinishReason::kStop, delivered};
    deliver(token, options.logprobs ? kernels::logprobs(last_logits_, token, *options.logprobs) : std::vector<kernels::Logprob>());
    ++delivered;
    if (length() == plan_.config.max_context) return {FinishReason::kContext, delivered};
    decode(token, drafts);
    timings_.decode_ms += ms_since(begin);
    ++timings_.decode_tokens;
    if (!wait_for_reader(delivered, options.run_ahead)) return {FinishReason::kAborted, delivered};
  }
  return {FinishReason::kLength, delivered};
}

Timings Engine::timings() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

void Engine::publish_timings() {
  const std::lock_guard lock(mutex_);
  published_ = timings_;
}

NpuVerdict Engine::check_npu() {
  if (segments_ == nullptr || length() != 0) throw Error(ErrorCode::kInvalidArgument, "the NPU can be checked on an empty session of a plan with segments only");
  std::vector<uint32_t> tokens(std::min(plan_.config.chunk, plan_.config.max_context));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<uint32_t>((i * 2654435761u + 7) % plan_.config.vocab);
  NpuCheck check(plan_, *weights_, *pool_);
  segments_->compare_with(&check);
  try {
    prefill(tokens, LogitsWanted::kNone, "npu");
  } catch (...) {
    segments_->compare_with(nullptr);
    throw;
  }
  segments_->compare_with(nullptr);
  truncate(0);
  timings_ = {};
  publish_timings();
  return check.verdict();
}

void Engine::truncate(uint32_t length) {
  if (length > history_.size()) throw Error(ErrorCode::kInvalidArgument, "cannot truncate " + std::to_string(history_.size()) + " positions to " + std::to_string(length));
  if (length == history_.size()) return;
  history_.resize(length);
  last_logits_ = {};
}

std::vector<float> Engine::peek(std::string_view tensor) const {
  if (last_program_ == nullptr) throw Error(ErrorCode::kInvalidArgument, "nothing has run yet");
  return executor_->peek(*last_program_, tensor, last_run_);
}

void Engine::acknowledge(uint32_t count) {
  {
    const std::lock_guard lock(mutex_);
    acknowledged_ += count;
  }
  reader_.notify_all();
}

void Engine::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_.store(true, std::memory_order_relaxed);
  }
  reader_.notify_all();
}

void Engine::clear_stop() { stop_.store(false, std::memory_order_relaxed); }

}  // namespace lutra::session
