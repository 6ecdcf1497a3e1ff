// Reshape, Gather: data movement only.
#include <algorithm>
#include <cstring>

#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kCopyBlock = 16384;  // bytes of one item of a copy

class CopyStage final : public Stage {
 public:
  CopyStage(Slot from, Slot to, size_t bytes) : from_(from), to_(to), bytes_(bytes) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t first = size_t{begin} * kCopyBlock, last = std::min(size_t{end} * kCopyBlock, bytes_);
    std::memmove(memory[to_] + first, memory[from_] + first, last - first);
  }

 private:
  Slot from_, to_;
  size_t bytes_;
};

/// Item i copies one run of `inner` bytes: outer index i / count, position i % count of the indices. An index out of range is taken as the nearest one.
class GatherStage final : public Stage {
 public:
  GatherStage(Slot from, Slot indices, Slot to, bool is_signed, uint32_t count, uint32_t axis_length, size_t inner)
      : from_(from), indices_(indices), to_(to), is_signed_(is_signed), count_(count), axis_length_(axis_length), inner_(inner) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      const uint32_t outer = item / count_;
      uint32_t index;
      std::memcpy(&index, memory[indices_] + size_t{item % count_} * 4, 4);
      if (is_signed_ && static_cast<int32_t>(index) < 0) index = 0;
      index = std::min(index, axis_length_ - 1);
      std::memcpy(memory[to_] + item * inner_, memory[from_] + (size_t{outer} * axis_length_ + index) * inner_, inner_);
    }
  }

 private:
  Slot from_, indices_, to_;
  bool is_signed_;
  uint32_t count_, axis_length_;
  size_t inner_;
};

void check_same_values(const Node& node) {
  if (node.in(0).dtype != node.out().dtype) refuse("input and output have different types");
  if (!(node.in(0).quantization == node.out().quantization)) refuse("input and output have different encodings");
}

void check_reshape(const Node& node) {
  expect_params(node, {});
  expect_arity(node, 1, 1);
  check_same_values(node);
  if (node.in(0).elements() != node.out().elements()) refuse("input and output have different numbers of elements");
}

void plan_reshape(const Node& node, Planner& planner) {
  if (planner.alias(node.in(0), node.out())) return;
  const size_t bytes = node.out().bytes();
  StagePlan work;
  work.items = static_cast<uint32_t>((bytes + kCopyBlock - 1) / kCopyBlock);
  work.grain = 4;
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<CopyStage>(work.reads[0], work.writes[0], bytes);
  planner.add(std::move(work));
}

size_t gather_axis(const Node& node) {
  const auto rank = static_cast<int64_t>(node.in(0).dims.size());
  int64_t axis = integer_param(node, "axis", 0);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) refuse("the axis is out of range");
  return static_cast<size_t>(axis);
}

void check_gather(const Node& node) {
  expect_params(node, {"axis"});
  expect_arity(node, 2, 2);
  check_same_values(node);
  const TensorInfo& indices = node.in(1);
  if (indices.dtype != abi::DataType::kInt32 && indices.dtype != abi::DataType::kUint32) refuse("the indices are " + std::string(data_type_name(indices.dtype)));
  const size_t axis = gather_axis(node);
  const auto& from = node.in(0).dims;
  std::vector<uint32_t> wanted(from.begin(), from.begin() + static_cast<ptrdiff_t>(axis));
  wanted.insert(wanted.end(), indices.dims.begin(), indices.dims.end());
  wanted.insert(wanted.end(), from.begin() + static_cast<ptrdiff_t>(axis) + 1, from.end());
  if (wanted != node.out().dims) refuse("the output does not have the shape of the gathered elements");
}

void plan_gather(const Node& node, Planner& planner) {
  const size_t axis = gather_axis(node);
  const auto& dims = node.in(0).dims;
  size_t inner = data_type_size(node.out().dtype), outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= dims[i];
  for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  const auto count = static_cast<uint32_t>(node.in(1).elements());
  StagePlan work;
  work.items = static_cast<uint32_t>(outer * count);
  work.grain = static_cast<uint32_t>(std::max<size_t>(1, kCopyBlock / inner));
  work.shared = {planner.slot(node.in(0)), planner.slot(node.in(1))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<GatherStage>(work.shared[0], work.shared[1], work.writes[0], node.in(1).dtype == abi::DataType::kInt32, count, dims[axis], inner);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Reshape", "any type of whole bytes, the same elements, type and encoding on both sides", check_reshape, plan_reshape},
    {"Gather", "any type of whole bytes, INT32 or UINT32 indices, one axis, the same encoding on both sides", check_gather, plan_gather},
};

}  // namespace

std::span<const OpDefinition> shape_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
