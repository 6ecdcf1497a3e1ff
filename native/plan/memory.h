// Where the activations of a plan live: one arena, tensors that are never alive together share bytes.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/plan.h"

namespace lutra::plan {

struct MemoryPlan {
  static constexpr size_t kAbsent = static_cast<size_t>(-1);
  std::vector<size_t> offsets;  // per tensor of the plan; kAbsent when it is no activation or no program uses it
  size_t bytes = 0;             // of the arena, a multiple of 64
};

/// Bytes of an activation at its largest: chunk rows, logit rows = chunk.
size_t activation_bytes(const Plan& plan, const Tensor& tensor) noexcept;

/// Places every activation, 64-byte aligned. Programs never run at the same time, so each starts again at 0. A tensor lives from the step that writes it to
/// the last that reads it. With `keep_all` nothing shares, so that every value can be looked at after a run.
MemoryPlan plan_memory(const Plan& plan, bool keep_all);

}  // namespace lutra::plan
