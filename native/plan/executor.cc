#include "plan/executor.h"

#include <algorithm>
#include <chrono>

#include "plan/steps.h"
#include "plan/values.h"
#include "store/json_scanner.h"

namespace lutra::plan {
namespace {

uint64_t now_ns() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count());
}

bool makes(const Program& program, uint32_t tensor) {
  return std::any_of(program.steps.begin(), program.steps.end(),
                     [&](const Step& s) { return std::find(s.outputs.begin(), s.outputs.end(), tensor) != s.outputs.end(); });
}

size_t index_of(const Plan& plan, const Program& program) { return static_cast<size_t>(&program - plan.programs.data()); }

}  // namespace

Executor::Executor(const Plan& plan, const store::WeightStore& weights, kv::KvCache& cache, ThreadPool& pool, SegmentRunner* segments, const ExecutorOptions& options)
    : plan_(plan), memory_(plan_memory(plan, options.keep_activations)), arena_(memory_.bytes), keep_activations_(options.keep_activations), profile_(options.profile) {
  Binder binder(*this, weights, cache, pool, segments, options);
  for (const Program& program : plan.programs) {
    auto& steps = programs_.emplace_back();
    for (size_t i = 0; i < program.steps.size(); ++i) {
      auto both = i + 1 < program.steps.size() ? bind_gated(binder, program.steps[i], program.steps[i + 1]) : nullptr;
      if (both != nullptr) ++i;
      else both = bind_step(binder, program.steps[i]);
      steps.push_back(std::move(both));
    }
  }
  scratch_ = AlignedBuffer(binder.scratch_bytes());
}

Executor::~Executor() = default;

void Executor::run(const Program& program, const Run& run, const std::atomic<bool>& stop) {
  // A profiled step begins where the one before it ended: one look at the clock a step, because 500 steps make a token.
  const bool profiled = run.stats != nullptr && profile_;
  uint64_t mark = profiled ? now_ns() : 0;
  for (const auto& step : programs_[index_of(plan_, program)]) {
    const StepRunner::Where where = step->where();
    if (where == StepRunner::Where::kNpu && stop.load(std::memory_order_relaxed)) throw Error(ErrorCode::kAborted, "stopped by the caller");
    if (!profiled && (run.stats == nullptr || where != StepRunner::Where::kShadow)) {
      step->run(run);
      continue;
    }
    if (!profiled) mark = now_ns();
    step->run(run);
    const uint64_t end = now_ns();
    if (where == StepRunner::Where::kCpu || where == StepRunner::Where::kAttention) run.stats->cpu_ns += end - mark;
    if (where == StepRunner::Where::kAttention) run.stats->attention_ns += end - mark;
    if (where == StepRunner::Where::kShadow) run.stats->shadow_ns += end - mark;
    mark = end;
  }
}

std::span<const float> Executor::logits(const Program& program, const Run& run) const {
  if (program.logits == kNoIndex) return {};
  const float* data = reinterpret_cast<const float*>(arena_.data() + memory_.offsets[program.logits]);
  return {data, static_cast<size_t>(run.logit_rows) * plan_.config.vocab};
}

std::vector<float> Executor::peek(const Program& program, std::string_view name, const Run& run) const {
  if (!keep_activations_) throw Error(ErrorCode::kInvalidArgument, "activations share memory, so '" + std::string(name) + "' may be gone", "open the model with keepActivations");
  for (uint32_t t = 0; t < plan_.tensors.size(); ++t) {
    const Tensor& tensor = plan_.tensors[t];
    if (tensor.name != name || !makes(program, t)) continue;  // programs lie over each other
    const std::byte* data = arena_.data() + memory_.offsets[t];
    return real_values(tensor, data, static_cast<size_t>(valid_rows(tensor, run)) * tensor.cols);
  }
  throw Error(ErrorCode::kNotFound, "program " + store::quote(program.name) + ", which ran last, makes no activation '" + std::string(name) + "'", "take a name of the printed plan");
}

}  // namespace lutra::plan
