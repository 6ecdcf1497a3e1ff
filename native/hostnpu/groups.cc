#include "hostnpu/groups.h"

namespace lutra::hostnpu {
namespace {

/// The dimensions of a dense tensor that are folded, or the others, as a box.
Box part_of(std::span<const uint32_t> dims, const std::vector<bool>& folded, bool wanted) {
  const std::vector<int64_t> strides = dense_strides(dims);
  std::vector<uint32_t> lengths;
  std::vector<int64_t> steps;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (folded[i] != wanted || dims[i] == 1) continue;
    lengths.push_back(dims[i]);
    steps.push_back(strides[i]);
  }
  if (lengths.empty()) {
    lengths.push_back(1);
    steps.push_back(1);
  }
  return Box(std::move(lengths), {std::move(steps)}, true);
}

}  // namespace

Groups::Groups(std::span<const uint32_t> dims, const std::vector<bool>& folded) : kept(part_of(dims, folded, false)), members(part_of(dims, folded, true)) {
  count = kept.rows() * kept.columns();
  size = members.rows() * members.columns();
  are_rows = members.rows() == 1 && members.step(0) == 1;
}

std::vector<bool> folded_dims(const Node& node) {
  const auto rank = static_cast<int64_t>(node.in(0).dims.size());
  std::vector<bool> folded(node.in(0).dims.size(), false);
  for (const uint32_t word : words_param(node, "axes", 1)) {
    int64_t axis = static_cast<int32_t>(word);
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) refuse("axis " + std::to_string(static_cast<int32_t>(word)) + " is out of range");
    if (folded[static_cast<size_t>(axis)]) refuse("axis " + std::to_string(axis) + " is named twice");
    folded[static_cast<size_t>(axis)] = true;
  }
  return folded;
}

std::vector<uint32_t> folded_shape(std::span<const uint32_t> dims, const std::vector<bool>& folded, bool keep_dims) {
  std::vector<uint32_t> shape;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!folded[i] || keep_dims) shape.push_back(folded[i] ? 1 : dims[i]);
  }
  if (shape.empty()) shape.push_back(1);
  return shape;
}

}  // namespace lutra::hostnpu
