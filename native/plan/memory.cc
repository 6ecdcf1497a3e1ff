#include "plan/memory.h"

#include <algorithm>

namespace lutra::plan {
namespace {

struct Life {
  uint32_t tensor;
  size_t first, last;  // steps, inclusive
  size_t bytes;
};

std::vector<Life> lives_of(const Plan& plan, const Program& program) {
  std::vector<Life> lives;
  std::vector<size_t> slot(plan.tensors.size(), MemoryPlan::kAbsent);
  const auto touch = [&](uint32_t t, size_t step) {
    if (plan.tensors[t].kind != TensorKind::kActivation) return;
    if (slot[t] == MemoryPlan::kAbsent) {
      slot[t] = lives.size();
      lives.push_back({t, step, step, activation_bytes(plan, plan.tensors[t])});
    }
    lives[slot[t]].last = step;
  };
  for (size_t s = 0; s < program.steps.size(); ++s) {
    for (uint32_t t : program.steps[s].inputs) touch(t, s);
    for (uint32_t t : program.steps[s].outputs) touch(t, s);
  }
  if (program.logits != kNoIndex) touch(program.logits, program.steps.size());
  return lives;
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
    std::vector<Life> placed;
    for (const Life& life : lives) {
      std::vector<std::pair<size_t, size_t>> taken;  // byte ranges in use while this one lives
      for (const Life& other : placed) {
        if (keep_all || (other.first <= life.last && life.first <= other.last)) taken.emplace_back(memory.offsets[other.tensor], memory.offsets[other.tensor] + other.bytes);
      }
      std::sort(taken.begin(), taken.end());
      size_t offset = 0;
      for (const auto& [begin, end] : taken) {
        if (begin >= offset + life.bytes) break;
        offset = std::max(offset, end);
      }
      memory.offsets[life.tensor] = offset;
      memory.bytes = std::max(memory.bytes, offset + life.bytes);
      placed.push_back(life);
    }
  }
  return memory;
}

}  // namespace lutra::plan
