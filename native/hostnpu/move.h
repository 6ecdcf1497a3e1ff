// Data movement: every op that only puts elements at other places is one or more moves of a box of them.
#pragma once

#include <vector>

#include "hostnpu/plan.h"

namespace lutra::hostnpu {

/// Elements of `from` at from_offset + Σ index · from_strides go to `to` at to_offset + Σ index · to_strides, for every index of `dims`. Strides are in elements.
struct Move {
  std::vector<uint32_t> dims;
  std::vector<int64_t> from_strides, to_strides;
  int64_t from_offset = 0, to_offset = 0;
};

/// Adds the stages. Quantised elements are converted when the two encodings differ; otherwise the bytes go as they are.
void plan_move(Planner& planner, const TensorInfo& from, const TensorInfo& to, const Move& move);
/// The same from or to memory that is no tensor of the graph, in elements of `size` bytes.
void plan_move(Planner& planner, Slot from, Slot to, size_t size, const Move& move);

/// The move that turns a dense tensor of shape `dims` into one whose dimension i is its dimension order[i].
Move transposition(std::span<const uint32_t> dims, std::span<const uint32_t> order);

}  // namespace lutra::hostnpu
