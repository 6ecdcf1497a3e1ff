// Data movement by index: Gather, GatherElements, GatherNd, ScatterNd, ScatterElements.
#include <algorithm>
#include <array>
#include <cstring>

#include "hostnpu/box.h"
#include "hostnpu/elements.h"
#include "hostnpu/move.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr size_t kTaskBytes = 16384;
constexpr size_t kMaxRank = 8;
using Dims = std::vector<uint32_t>;

bool is_signed(const TensorInfo& indices) { return indices.dtype == abi::DataType::kInt32; }

/// Index `i` as it stands; −1 and less only when signed.
int64_t index_at(const std::byte* indices, size_t i, bool is_signed) {
  uint32_t index;
  std::memcpy(&index, indices + i * 4, 4);
  return is_signed ? static_cast<int64_t>(static_cast<int32_t>(index)) : static_cast<int64_t>(index);
}
/// An index out of range is taken as the nearest one.
uint32_t nearest_index(const std::byte* indices, size_t i, bool is_signed, uint32_t length) {
  return static_cast<uint32_t>(std::clamp<int64_t>(index_at(indices, i, is_signed), 0, int64_t{length} - 1));
}

void check_indices(const TensorInfo& indices) { expect_type(indices, kTypesIndex); }

// ----------------------------------------------------------------------------------------------------------------- gather

/// Item i copies one run of `inner` bytes: outer index i / count, position i % count of the indices. An index out of range is taken as the nearest one.
class RunGatherStage final : public Stage {
 public:
  RunGatherStage(Slot from, Slot indices, Slot to, bool is_signed, uint32_t count, uint32_t axis_length, size_t inner)
      : from_(from), indices_(indices), to_(to), is_signed_(is_signed), count_(count), axis_length_(axis_length), inner_(inner) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      const uint32_t outer = item / count_;
      const uint32_t index = nearest_index(memory[indices_], item % count_, is_signed_, axis_length_);
      std::memcpy(memory[to_] + item * inner_, memory[from_] + (size_t{outer} * axis_length_ + index) * inner_, inner_);
    }
  }

 private:
  Slot from_, indices_, to_;
  bool is_signed_;
  uint32_t count_, axis_length_;
  size_t inner_;
};

void check_gather(const Node& node) {
  expect_params(node, {"axis"});
  expect_arity(node, 2, 2);
  expect_same_values(node.in(0), node.out());
  check_indices(node.in(1));
  const Dims& from = node.in(0).dims;
  const size_t axis = axis_param(node, "axis", from.size(), 0);
  Dims wanted(from.begin(), from.begin() + static_cast<ptrdiff_t>(axis));
  wanted.insert(wanted.end(), node.in(1).dims.begin(), node.in(1).dims.end());
  wanted.insert(wanted.end(), from.begin() + static_cast<ptrdiff_t>(axis) + 1, from.end());
  if (wanted != node.out().dims) refuse("the output does not have the shape of the gathered elements");
}

void plan_gather(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.in(0).dims.size(), 0);
  const auto& dims = node.in(0).dims;
  size_t inner = data_type_size(node.out().dtype), outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= dims[i];
  for (size_t i = axis + 1; i < dims.size(); ++i) inner *= dims[i];
  const auto count = static_cast<uint32_t>(node.in(1).elements());
  StagePlan work;
  work.items = static_cast<uint32_t>(outer * count);
  work.grain = static_cast<uint32_t>(std::max<size_t>(1, kTaskBytes / inner));
  work.shared = {planner.slot(node.in(0)), planner.slot(node.in(1))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<RunGatherStage>(work.shared[0], work.shared[1], work.writes[0], is_signed(node.in(1)), count, dims[axis], inner);
  planner.add(std::move(work));
}

std::vector<int64_t> strides_without(const Dims& dims, size_t axis) {
  std::vector<int64_t> strides = dense_strides(dims);
  strides[axis] = 0;
  return strides;
}

/// y[.., i, ..] = x[.., indices[.., i, ..], ..]: an item is an element of the indices.
class ElementGatherStage final : public Stage {
 public:
  ElementGatherStage(const Node& node, size_t axis, Slot from, Slot indices, Slot to)
      : box_(node.out().dims, {strides_without(node.in(0).dims, axis)}, false), size_(data_type_size(node.out().dtype)), length_(node.in(0).dims[axis]),
        stride_(dense_strides(node.in(0).dims)[axis]), is_signed_(is_signed(node.in(1))), from_(from), indices_(indices), to_(to) {}

  uint32_t rows() const noexcept { return box_.rows(); }
  uint32_t columns() const noexcept { return box_.columns(); }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t row = begin; row < end; ++row) {
      const int64_t start = box_.row(row)[0];
      for (uint32_t column = 0; column < box_.columns(); ++column) {
        const size_t i = size_t{row} * box_.columns() + column;
        const int64_t at = start + column * box_.step(0) + stride_ * nearest_index(memory[indices_], i, is_signed_, length_);
        std::memcpy(memory[to_] + i * size_, memory[from_] + at * static_cast<int64_t>(size_), size_);
      }
    }
  }

 private:
  Box box_;
  size_t size_;
  uint32_t length_;
  int64_t stride_;
  bool is_signed_;
  Slot from_, indices_, to_;
};

void check_gather_elements(const Node& node) {
  expect_params(node, {"axis"});
  expect_arity(node, 2, 2);
  expect_same_values(node.in(0), node.out());
  check_indices(node.in(1));
  const Dims &from = node.in(0).dims, &indices = node.in(1).dims;
  const size_t axis = axis_param(node, "axis", from.size(), 0);
  if (indices.size() != from.size()) refuse("data and indices have different ranks");
  for (size_t i = 0; i < from.size(); ++i) {
    if (i != axis && indices[i] > from[i]) refuse("dimension " + std::to_string(i) + " of the indices is longer than that of the data");
  }
  expect_dims(node.out(), indices);
}

void plan_gather_elements(const Node& node, Planner& planner) {
  const size_t axis = axis_param(node, "axis", node.in(0).dims.size(), 0);
  StagePlan work;
  work.shared = {planner.slot(node.in(0)), planner.slot(node.in(1))};
  work.writes = {planner.slot(node.out())};
  auto stage = std::make_unique<ElementGatherStage>(node, axis, work.shared[0], work.shared[1], work.writes[0]);
  work.items = stage->rows();
  work.grain = static_cast<uint32_t>(std::max<size_t>(1, kTaskBytes / (stage->columns() * data_type_size(node.out().dtype))));
  work.stage = std::move(stage);
  planner.add(std::move(work));
}

// ----------------------------------------------------------------------------------------------------------- tuples of indices

/// Tuples of indices into the first dimensions of a tensor; each names a run of the elements behind them.
struct Tuples {
  size_t batch = 0;   // leading dimensions that data and indices share
  size_t depth = 0;   // indices of a tuple
  uint32_t count = 0;  // tuples
  uint32_t per_batch = 0;
  size_t run = 1;     // elements
  size_t batch_elements = 0;  // of the data
  std::array<uint32_t, kMaxRank> lengths{};
  std::array<size_t, kMaxRank> strides{};
};

Tuples describe_tuples(const TensorInfo& data, const TensorInfo& indices, size_t batch) {
  Tuples out;
  out.batch = batch;
  out.depth = indices.last_dim();
  if (indices.dims.size() <= batch || out.depth > data.dims.size() - std::min(batch, data.dims.size())) refuse("a tuple of the indices is longer than the data's rank");
  for (size_t i = 0; i < batch; ++i) {
    if (data.dims[i] != indices.dims[i]) refuse("data and indices differ in dimension " + std::to_string(i));
  }
  out.count = static_cast<uint32_t>(indices.elements() / out.depth);
  uint32_t batches = 1;
  for (size_t i = 0; i < batch; ++i) batches *= data.dims[i];
  out.per_batch = out.count / batches;
  out.batch_elements = data.elements() / batches;
  for (size_t i = batch + out.depth; i < data.dims.size(); ++i) out.run *= data.dims[i];
  size_t stride = out.run;
  for (size_t i = out.depth; i-- > 0;) {
    out.lengths[i] = data.dims[batch + i];
    out.strides[i] = stride;
    stride *= out.lengths[i];
  }
  return out;
}

/// The first element that tuple `i` names, or none when an index is out of range.
std::optional<size_t> place_of(const Tuples& tuples, const std::byte* indices, uint32_t i, bool is_signed) {
  size_t at = i / tuples.per_batch * tuples.batch_elements;
  for (size_t d = 0; d < tuples.depth; ++d) {
    const int64_t index = index_at(indices, size_t{i} * tuples.depth + d, is_signed);
    if (index < 0 || index >= tuples.lengths[d]) return std::nullopt;
    at += tuples.strides[d] * static_cast<size_t>(index);
  }
  return at;
}

/// The shape of what the tuples name.
Dims named_dims(const TensorInfo& data, const TensorInfo& indices, const Tuples& tuples) {
  Dims dims(indices.dims.begin(), indices.dims.end() - 1);
  dims.insert(dims.end(), data.dims.begin() + static_cast<ptrdiff_t>(tuples.batch + tuples.depth), data.dims.end());
  if (dims.empty()) dims.push_back(1);
  return dims;
}

class TupleGatherStage final : public Stage {
 public:
  TupleGatherStage(const Tuples& tuples, size_t size, bool is_signed, Slot from, Slot indices, Slot to)
      : tuples_(tuples), size_(size), is_signed_(is_signed), from_(from), indices_(indices), to_(to) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const size_t bytes = tuples_.run * size_;
    for (uint32_t i = begin; i < end; ++i) {
      const auto at = place_of(tuples_, memory[indices_], i, is_signed_);
      if (at) {
        std::memcpy(memory[to_] + i * bytes, memory[from_] + *at * size_, bytes);
      } else {
        std::memset(memory[to_] + i * bytes, 0, bytes);
      }
    }
  }

 private:
  Tuples tuples_;
  size_t size_;
  bool is_signed_;
  Slot from_, indices_, to_;
};

Tuples describe_gather_nd(const Node& node) {
  return describe_tuples(node.in(0), node.in(1), static_cast<size_t>(std::clamp<int64_t>(integer_param(node, "batch_dims", 0), 0, kMaxRank)));
}

void check_gather_nd(const Node& node) {
  expect_params(node, {"batch_dims"});
  expect_arity(node, 2, 2);
  expect_same_values(node.in(0), node.out());
  check_indices(node.in(1));
  expect_dims(node.out(), named_dims(node.in(0), node.in(1), describe_gather_nd(node)));
}

void plan_gather_nd(const Node& node, Planner& planner) {
  const Tuples tuples = describe_gather_nd(node);
  const size_t size = data_type_size(node.out().dtype);
  StagePlan work;
  work.items = tuples.count;
  work.grain = static_cast<uint32_t>(std::max<size_t>(1, kTaskBytes / (tuples.run * size)));
  work.shared = {planner.slot(node.in(0)), planner.slot(node.in(1))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<TupleGatherStage>(tuples, size, is_signed(node.in(1)), work.shared[0], work.shared[1], work.writes[0]);
  planner.add(std::move(work));
}

// ---------------------------------------------------------------------------------------------------------------- scatter

enum class Reduction : int64_t { kNone = 0, kAdd = 1, kMultiply = 2 };

template <class T>
T reduced(Reduction reduction, T old, T added) {
  return reduction == Reduction::kAdd ? old + added : reduction == Reduction::kMultiply ? old * added : added;
}

Reduction reduction_of(const Node& node) {
  const int64_t reduction = integer_param(node, "reduction", 0);
  if (reduction < 0 || reduction > 2) refuse("there is no reduction " + std::to_string(reduction));
  return static_cast<Reduction>(reduction);
}

/// Both put elements of an input into a copy of the first one.
void check_scattered(const Node& node) {
  expect_arity(node, 3, 3);
  const TypeSet values = kTypesReal | kTypesIndex | kTypeBool | kTypePlainU8 | kTypePlainI8;
  for (const TensorInfo* tensor : {&node.in(0), &node.in(2), &node.out()}) {
    expect_type(*tensor, values);
    if (tensor->dtype != node.out().dtype) refuse("'" + tensor->name + "' and the output have different types");
  }
  check_indices(node.in(1));
  expect_dims(node.out(), node.in(0).dims);
  reduction_of(node);
}

/// Copies the first input to the output and adds what scatters into it: `make` gets the slots of indices, updates and output.
template <class Make>
void plan_scattered(const Node& node, Planner& planner, const Make& make) {
  const Dims& dims = node.out().dims;
  plan_move(planner, node.in(0), node.out(), {dims, dense_strides(dims), dense_strides(dims), 0, 0});
  StagePlan work;
  work.items = 1;
  work.grain = 1;
  work.shared = {planner.slot(node.in(1)), planner.slot(node.in(2)), planner.slot(node.out())};
  work.writes = {planner.slot(node.out())};
  work.stage = make();
  planner.add(std::move(work));
}

/// Puts runs of the updates into y, one after the other, because two of them may meet. An index out of range puts nothing.
class ScatterStage final : public Stage {
 public:
  ScatterStage(const Node& node, Planner& planner, const Tuples& tuples, Reduction reduction)
      : tuples_(tuples), reduction_(reduction), y_(node.out(), planner.ops()), updates_(node.in(2), planner.ops()), is_signed_(is_signed(node.in(1))),
        indices_slot_(planner.slot(node.in(1))), updates_slot_(planner.slot(node.in(2))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t, uint32_t) const override {
    for (uint32_t i = 0; i < tuples_.count; ++i) {
      const auto at = place_of(tuples_, memory[indices_slot_], i, is_signed_);
      if (!at) continue;
      if (y_.is_integer()) {
        put<int64_t>(memory, *at, i * tuples_.run);
      } else {
        put<float>(memory, *at, i * tuples_.run);
      }
    }
  }

 private:
  template <class T>
  void put(Memory memory, size_t at, size_t from) const {
    if (reduction_ == Reduction::kNone && y_.element() == updates_.element() && y_.affine().scale == updates_.affine().scale && y_.affine().offset == updates_.affine().offset) {
      std::memcpy(memory[to_] + at * y_.size(), memory[updates_slot_] + from * y_.size(), tuples_.run * y_.size());
      return;
    }
    alignas(64) T old[kBlock], added[kBlock];
    for (size_t done = 0; done < tuples_.run; done += kBlock) {
      const size_t n = std::min(kBlock, tuples_.run - done);
      y_.load(memory[to_], static_cast<int64_t>(at + done), 1, n, old);
      updates_.load(memory[updates_slot_], static_cast<int64_t>(from + done), 1, n, added);
      for (size_t k = 0; k < n; ++k) old[k] = reduced(reduction_, old[k], added[k]);
      y_.store(memory[to_], static_cast<int64_t>(at + done), n, old);
    }
  }

  Tuples tuples_;
  Reduction reduction_;
  Elements y_, updates_;
  bool is_signed_;
  Slot indices_slot_, updates_slot_, to_;
};

void check_scatter_nd(const Node& node) {
  expect_params(node, {"reduction"});
  check_scattered(node);
  expect_dims(node.in(2), named_dims(node.in(0), node.in(1), describe_tuples(node.in(0), node.in(1), 0)));
}

void plan_scatter_nd(const Node& node, Planner& planner) {
  plan_scattered(node, planner, [&] { return std::make_unique<ScatterStage>(node, planner, describe_tuples(node.in(0), node.in(1), 0), reduction_of(node)); });
}

/// y[.., indices[.., i, ..], ..] = updates[.., i, ..], one after the other, because two of them may meet. An index out of range puts nothing.
class ElementScatterStage final : public Stage {
 public:
  ElementScatterStage(const Node& node, Planner& planner, size_t axis)
      : box_(node.in(2).dims, {strides_without(node.out().dims, axis)}, false), y_(node.out(), planner.ops()), updates_(node.in(2), planner.ops()), reduction_(reduction_of(node)),
        length_(node.out().dims[axis]), stride_(dense_strides(node.out().dims)[axis]), is_signed_(is_signed(node.in(1))), indices_slot_(planner.slot(node.in(1))),
        updates_slot_(planner.slot(node.in(2))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t, uint32_t) const override {
    for (uint32_t row = 0; row < box_.rows(); ++row) {
      const int64_t start = box_.row(row)[0];
      for (uint32_t column = 0; column < box_.columns(); ++column) {
        const size_t i = size_t{row} * box_.columns() + column;
        const int64_t index = index_at(memory[indices_slot_], i, is_signed_);
        if (index < 0 || index >= length_) continue;
        const int64_t at = start + column * box_.step(0) + stride_ * index;
        if (y_.is_integer()) {
          put<int64_t>(memory, at, static_cast<int64_t>(i));
        } else {
          put<float>(memory, at, static_cast<int64_t>(i));
        }
      }
    }
  }

 private:
  template <class T>
  void put(Memory memory, int64_t at, int64_t from) const {
    T old{}, added{};
    y_.load(memory[to_], at, 1, 1, &old);
    updates_.load(memory[updates_slot_], from, 1, 1, &added);
    old = reduced(reduction_, old, added);
    y_.store(memory[to_], at, 1, &old);
  }

  Box box_;
  Elements y_, updates_;
  Reduction reduction_;
  int64_t length_, stride_;
  bool is_signed_;
  Slot indices_slot_, updates_slot_, to_;
};

void check_scatter_elements(const Node& node) {
  expect_params(node, {"axis", "reduction"});
  check_scattered(node);
  const Dims &dims = node.out().dims, &updates = node.in(2).dims;
  const size_t axis = axis_param(node, "axis", dims.size(), 0);
  expect_dims(node.in(1), updates);
  if (updates.size() != dims.size()) refuse("data and updates have different ranks");
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i != axis && updates[i] > dims[i]) refuse("dimension " + std::to_string(i) + " of the updates is longer than that of the data");
  }
}

void plan_scatter_elements(const Node& node, Planner& planner) {
  plan_scattered(node, planner, [&] { return std::make_unique<ElementScatterStage>(node, planner, axis_param(node, "axis", node.out().dims.size(), 0)); });
}

constexpr OpDefinition kOps[] = {
    {"Gather", "any type of whole bytes, INT32 or UINT32 indices, one axis, the same encoding on both sides", check_gather, plan_gather},
    {"GatherElements", "any type of whole bytes, INT32 or UINT32 indices of the data's rank, one axis, the same encoding on both sides", check_gather_elements, plan_gather_elements},
    {"GatherNd", "any type of whole bytes, INT32 or UINT32 indices, the same encoding on both sides", check_gather_nd, plan_gather_nd},
    {"ScatterNd", "data, updates and output of one type of F32, F16, U8, S8, U16, S16, INT32, UINT32, BOOL8; INT32 or UINT32 indices; reduction 0 (none), 1 (add), 2 (multiply)", check_scatter_nd,
     plan_scatter_nd},
    {"ScatterElements",
     "data, updates and output of one type of F32, F16, U8, S8, U16, S16, INT32, UINT32, BOOL8; INT32 or UINT32 indices of the shape of the updates; one axis; reduction 0 (none), 1 (add), 2 "
     "(multiply)",
     check_scatter_elements, plan_scatter_elements},
};

}  // namespace

std::span<const OpDefinition> index_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
