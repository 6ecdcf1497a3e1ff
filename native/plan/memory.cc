#include "plan/memory.h"

#include <algorithm>

namespace lutra::plan {
namespace {

/// An activation of a program while it is used.
struct Life {
  uint32_t tensor;
  uint32_t first, last;  // steps, inclusive
  size_t bytes;
};

std::vector<Life> lives_of(const Plan& plan, const Program& program) {
  constexpr uint32_t kNone = 0xffffffffu;
  std::vector<Life> lives;
  lives.reserve(static_cast<size_t>(std::count_if(plan.tensors.begin(), plan.tensors.end(), [](const Tensor& t) { return t.kind == TensorKind::kActivation; })));
  std::vector<uint32_t> index(plan.tensors.size(), kNone);
  const auto touch = [&](uint32_t t, size_t step) {
    if (plan.tensors[t].kind != TensorKind::kActivation) return;
    const auto now = static_cast<uint32_t>(step);
    if (index[t] == kNone) {
      index[t] = static_cast<uint32_t>(lives.size());
      lives.push_back({t, now, now, activation_bytes(plan, plan.tensors[t])});
    }
    lives[index[t]].last = now;
  };
  for (size_t s = 0; s < program.steps.size(); ++s) {
    for (uint32_t t : program.steps[s].inputs) touch(t, s);
    for (uint32_t t : program.steps[s].outputs) touch(t, s);
  }
  if (program.logits != kNoIndex) touch(program.logits, program.steps.size());
  return lives;
}

/// Gives each life the lowest place that nothing alive at the same time has taken. Returns the bytes taken.
size_t place(const std::vector<Life>& lives, bool keep_all, std::vector<size_t>& offsets) {
  size_t end = 0;
  std::vector<const Life*> placed;  // by offset
  placed.reserve(lives.size());
  for (const Life& life : lives) {
    size_t offset = keep_all ? end : 0;
    if (!keep_all) {
      for (const Life* other : placed) {
        if (other->last < life.first || life.last < other->first) continue;
        if (offset + life.bytes <= offsets[other->tensor]) break;
        offset = std::max(offset, offsets[other->tensor] + other->bytes);
      }
      placed.insert(std::upper_bound(placed.begin(), placed.end(), offset, [&](size_t at, const Life* other) { return at < offsets[other->tensor]; }), &life);
    }
    offsets[life.tensor] = offset;
    end = std::max(end, offset + life.bytes);
  }
  return end;
}

}  // namespace

size_t activation_bytes(const Plan& plan, const Tensor& tensor) noexcept {
  const size_t rows = tensor.rows_kind == RowsKind::kFixed ? tensor.rows : plan.config.chunk;
  return (rows * tensor.cols * element_size(tensor.dtype) + 63) / 64 * 64;
}

MemoryPlan plan_memory(const Plan& plan, bool keep_all) {
  MemoryPlan memory;
  memory.offsets.assign(plan.tensors.size(), MemoryPlan::kAbsent);
  for (const Program& program : plan.programs) {
    std::vector<Life> lives = lives_of(plan, program);
    // Large ones first: they are the hardest to place, and small ones fit the gaps between them.
    std::stable_sort(lives.begin(), lives.end(), [](const Life& a, const Life& b) { return a.bytes > b.bytes; });
    memory.bytes = std::max(memory.bytes, place(lives, keep_all, memory.offsets));
  }
  return memory;
}

}  // namespace lutra::plan
