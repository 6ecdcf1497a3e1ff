// Argmax, Argmin and TopK.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "hostnpu/elements.h"
#include "hostnpu/groups.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kTaskElements = 16384;

/// A number that is not one is behind all others.
template <class T>
T ranked(T value, bool largest) {
  if constexpr (std::is_same_v<T, float>) {
    if (std::isnan(value)) return largest ? -std::numeric_limits<float>::infinity() : std::numeric_limits<float>::infinity();
  }
  return value;
}

// --------------------------------------------------------------------------------------------------------- Argmax, Argmin

/// Where the extreme of each line along one axis is; of equal ones the first. An item is a line.
class ArgumentStage final : public Stage {
 public:
  ArgumentStage(const Node& node, Planner& planner, Groups lines, bool largest)
      : lines_(std::move(lines)), x_(node.in(0), planner.ops()), largest_(largest), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t line = begin; line < end; ++line) {
      const uint32_t place = x_.is_integer() ? find<int64_t>(memory[from_], line) : find<float>(memory[from_], line);
      std::memcpy(memory[to_] + size_t{line} * 4, &place, 4);
    }
  }

 private:
  template <class T>
  uint32_t find(const std::byte* data, uint32_t line) const {
    alignas(64) T block[kBlock];
    const int64_t begin = lines_.begin(line), step = lines_.members.step(0);
    T best{};
    uint32_t place = 0;
    for (uint32_t done = 0; done < lines_.size; done += kBlock) {
      const uint32_t n = std::min<uint32_t>(kBlock, lines_.size - done);
      x_.load(data, begin + done * step, step, n, block);
      for (uint32_t i = 0; i < n; ++i) {
        const T value = ranked(block[i], largest_);
        if (done + i != 0 && (largest_ ? !(value > best) : !(value < best))) continue;
        best = value;
        place = done + i;
      }
    }
    return place;
  }

  Groups lines_;
  Elements x_;
  bool largest_;
  Slot from_, to_;
};

std::vector<bool> line_dims(const Node& node) {
  required_param(node, "axis");
  std::vector<bool> folded(node.in(0).dims.size(), false);
  folded[axis_param(node, "axis", folded.size(), 0)] = true;
  return folded;
}

void check_argument(const Node& node) {
  expect_params(node, {"axis", "keep_dims"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), kTypesFloat | kTypeU8 | kTypeS8 | kTypeU16 | (node.type == "Argmax" ? kTypesIndex : 0));
  expect_type(node.out(), kTypesIndex);
  expect_dims(node.out(), folded_shape(node.in(0).dims, line_dims(node), bool_param(node, "keep_dims", false)));
}

void plan_argument(const Node& node, Planner& planner) {
  Groups lines(node.in(0).dims, line_dims(node));
  StagePlan work;
  work.items = lines.count;
  work.rowwise = lines.are_rows;
  work.row_bytes = lines.size * data_type_size(node.in(0).dtype);
  if (!work.rowwise) work.grain = std::max(1u, kTaskElements / lines.size);
  (work.rowwise ? work.reads : work.shared).push_back(planner.slot(node.in(0)));
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<ArgumentStage>(node, planner, std::move(lines), node.type == "Argmax");
  planner.add(std::move(work));
}

// ------------------------------------------------------------------------------------------------------------------- TopK

/// The first k elements of each row in order; of equal ones the later, as Qualcomm's HTP has it. An item is a row.
class TopKStage final : public Stage {
 public:
  TopKStage(const Node& node, Planner& planner, uint32_t k, bool largest, Slot scratch)
      : x_(node.in(0), planner.ops()), columns_(node.in(0).last_dim()), k_(k), largest_(largest), from_(planner.slot(node.in(0))),
        values_(planner.slot(*node.outputs[0])), places_(planner.slot(*node.outputs[1])), scratch_(scratch) {}

  /// Of one row.
  static size_t scratch_bytes(uint32_t k) { return size_t{k} * sizeof(Entry<int64_t>); }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t row = begin; row < end; ++row) {
      if (x_.is_integer()) {
        select<int64_t>(memory, row);
      } else {
        select<float>(memory, row);
      }
    }
  }

 private:
  template <class T>
  struct Entry {
    T value;
    uint32_t place;
  };

  template <class T>
  void select(Memory memory, uint32_t row) const {
    const auto before = [this](const Entry<T>& a, const Entry<T>& b) {
      if (a.value != b.value) return largest_ ? a.value > b.value : a.value < b.value;
      return a.place > b.place;
    };
    // A heap of the best so far, the worst of them on top.
    auto* heap = reinterpret_cast<Entry<T>*>(memory[scratch_] + row * scratch_bytes(k_));
    uint32_t held = 0;
    alignas(64) T block[kBlock];
    for (uint32_t done = 0; done < columns_; done += kBlock) {
      const uint32_t n = std::min<uint32_t>(kBlock, columns_ - done);
      x_.load(memory[from_], int64_t{row} * columns_ + done, 1, n, block);
      for (uint32_t i = 0; i < n; ++i) {
        const Entry<T> entry{ranked(block[i], largest_), done + i};
        if (held < k_) {
          heap[held++] = entry;
          std::push_heap(heap, heap + held, before);
        } else if (before(entry, heap[0])) {
          std::pop_heap(heap, heap + k_, before);
          heap[k_ - 1] = entry;
          std::push_heap(heap, heap + k_, before);
        }
      }
    }
    std::sort_heap(heap, heap + k_, before);
    for (uint32_t i = 0; i < k_; ++i) {
      const size_t to = size_t{row} * k_ + i, at = size_t{row} * columns_ + heap[i].place;
      std::memcpy(memory[values_] + to * x_.size(), memory[from_] + at * x_.size(), x_.size());
      std::memcpy(memory[places_] + to * 4, &heap[i].place, 4);
    }
  }

  Elements x_;
  uint32_t columns_, k_;
  bool largest_;
  Slot from_, values_, places_, scratch_;
};

uint32_t k_of(const Node& node) {
  required_param(node, "k");
  const int64_t k = integer_param(node, "k", 0);
  if (k < 1 || k > node.in(0).last_dim()) refuse("k is " + std::to_string(k) + " of " + std::to_string(node.in(0).last_dim()));
  return static_cast<uint32_t>(k);
}

void check_top_k(const Node& node) {
  expect_params(node, {"k", "largest"});
  expect_arity(node, 1, 1, 2);
  const TensorInfo& x = node.in(0);
  expect_type(x, kTypesFloat | kTypeU8 | kTypeS8 | kTypeU16 | kTypeI32);
  expect_same_values(x, *node.outputs[0]);
  expect_type(*node.outputs[1], kTypesIndex);
  bool_param(node, "largest", true);
  std::vector<uint32_t> wanted = x.dims;
  wanted.back() = k_of(node);
  expect_dims(*node.outputs[0], wanted);
  expect_dims(*node.outputs[1], wanted);
}

void plan_top_k(const Node& node, Planner& planner) {
  const uint32_t k = k_of(node);
  StagePlan work;
  work.items = rows_of(node.in(0));
  work.rowwise = true;
  work.row_bytes = size_t{node.in(0).last_dim()} * data_type_size(node.in(0).dtype) + TopKStage::scratch_bytes(k);
  const Slot scratch = planner.scratch(work.items * TopKStage::scratch_bytes(k));
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(*node.outputs[0]), planner.slot(*node.outputs[1]), scratch};
  work.stage = std::make_unique<TopKStage>(node, planner, k, bool_param(node, "largest", true), scratch);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"Argmax", "F32, F16, U8, S8, U16, INT32, UINT32 to INT32, UINT32; one axis, with or without keep_dims", check_argument, plan_argument},
    {"Argmin", "F32, F16, U8, S8, U16 to INT32, UINT32; one axis, with or without keep_dims", check_argument, plan_argument},
    {"TopK", "F32, F16, U8, S8, U16, INT32, values of the same type and encoding, places INT32 or UINT32; over the last axis", check_top_k, plan_top_k},
};

}  // namespace

std::span<const OpDefinition> search_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
