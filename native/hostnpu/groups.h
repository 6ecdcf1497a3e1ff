// A tensor seen as groups of elements that differ only in some dimensions, which an op computes one result of.
#pragma once

#include <span>
#include <vector>

#include "hostnpu/box.h"
#include "hostnpu/node.h"

namespace lutra::hostnpu {

struct Groups {
  /// Which dimensions of x are folded, by index.
  Groups(std::span<const uint32_t> dims, const std::vector<bool>& folded);

  Box kept;     // one element for each group, in the order of a dense tensor of the other dimensions
  Box members;  // of a group, relative to its first one
  uint32_t count = 1, size = 1;  // groups, members of each
  /// True when the members of a group are neighbours: a group is a row.
  bool are_rows = false;

  /// Where group `index` begins.
  int64_t begin(uint32_t index) const noexcept { return kept.row(index / kept.columns())[0] + kept.step(0) * (index % kept.columns()); }
};

/// The dimensions that the tensor parameter `axes` names (required); negative ones count from the end. Refuses one that is named twice.
std::vector<bool> folded_dims(const Node& node);
/// The shape of one result per group.
std::vector<uint32_t> folded_shape(std::span<const uint32_t> dims, const std::vector<bool>& folded, bool keep_dims);

}  // namespace lutra::hostnpu
