// Along one axis, every element from those before it: CumulativeSum and HadamardTransform.
#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "hostnpu/elements.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kTaskElements = 16384;

// ---------------------------------------------------------------------------------------------------------- CumulativeSum

/// Lines of `length` elements that are `inner` apart. An item is up to kBlock lines that begin beside each other.
class SumStage final : public Stage {
 public:
  SumStage(const Node& node, Planner& planner, size_t axis)
      : x_(node.in(0), planner.ops()), y_(node.out(), planner.ops()), length_(node.in(0).dims[axis]), exclusive_(bool_param(node, "exclusive", false)),
        reverse_(bool_param(node, "reverse", false)), from_(planner.slot(node.in(0))), to_(planner.slot(node.out())) {
    const auto& dims = node.in(0).dims;
    for (size_t i = axis + 1; i < dims.size(); ++i) inner_ *= dims[i];
    for (size_t i = 0; i < axis; ++i) outer_ *= dims[i];
  }

  uint32_t items() const noexcept { return outer_ * runs(); }
  uint32_t item_elements() const noexcept { return length_ * std::min<uint32_t>(inner_, kBlock); }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t item = begin; item < end; ++item) {
      const uint32_t column = item % runs() * kBlock;
      const int64_t at = int64_t{item / runs()} * length_ * inner_ + column;
      const uint32_t n = std::min<uint32_t>(kBlock, inner_ - column);
      if (x_.is_integer()) {
        inner_ == 1 ? sum_row<int64_t>(memory, at) : sum_lines<int64_t>(memory, at, n);
      } else {
        inner_ == 1 ? sum_row<float>(memory, at) : sum_lines<float>(memory, at, n);
      }
    }
  }

 private:
  uint32_t runs() const noexcept { return (inner_ + kBlock - 1) / kBlock; }

  /// Sums of reals are kept in double.
  template <class T>
  using Total = std::conditional_t<std::is_same_v<T, float>, double, int64_t>;

  /// One line, whose elements are neighbours.
  template <class T>
  void sum_row(Memory memory, int64_t at) const {
    Total<T> total{};
    alignas(64) T block[kBlock];
    for (uint32_t done = 0; done < length_; done += kBlock) {
      const uint32_t n = std::min<uint32_t>(kBlock, length_ - done);
      const int64_t place = at + (reverse_ ? length_ - done - n : done);
      x_.load(memory[from_], place, 1, n, block);
      for (uint32_t i = 0; i < n; ++i) {
        T& value = block[reverse_ ? n - 1 - i : i];
        const Total<T> before = total;
        total += value;
        value = static_cast<T>(exclusive_ ? before : total);
      }
      y_.store(memory[to_], place, n, block);
    }
  }

  template <class T>
  void sum_lines(Memory memory, int64_t at, uint32_t n) const {
    Total<T> totals[kBlock] = {};
    alignas(64) T block[kBlock];
    for (uint32_t i = 0; i < length_; ++i) {
      const int64_t place = at + int64_t{reverse_ ? length_ - 1 - i : i} * inner_;
      x_.load(memory[from_], place, 1, n, block);
      for (uint32_t k = 0; k < n; ++k) {
        const Total<T> before = totals[k];
        totals[k] += block[k];
        block[k] = static_cast<T>(exclusive_ ? before : totals[k]);
      }
      y_.store(memory[to_], place, n, block);
    }
  }

  Elements x_, y_;
  uint32_t length_, inner_ = 1, outer_ = 1;
  bool exclusive_, reverse_;
  Slot from_, to_;
};

void check_sum(const Node& node) {
  expect_params(node, {"axis", "exclusive", "reverse"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), kTypesFloat | kTypeU8 | kTypeU16 | kTypeI32);
  expect_type(node.out(), type_of(node.in(0)));
  expect_same_shape(node.in(0), node.out());
  required_param(node, "axis");
  axis_param(node, "axis", node.in(0).dims.size(), 0);
  bool_param(node, "exclusive", false);
  bool_param(node, "reverse", false);
}

void plan_sum(const Node& node, Planner& planner) {
  auto stage = std::make_unique<SumStage>(node, planner, axis_param(node, "axis", node.in(0).dims.size(), 0));
  StagePlan work;
  work.items = stage->items();
  work.grain = std::max(1u, kTaskElements / stage->item_elements());
  work.shared = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out())};
  work.stage = std::move(stage);
  planner.add(std::move(work));
}

// ------------------------------------------------------------------------------------------------------ HadamardTransform

/// y = scale / sqrt(n) · H x of each row of n elements, H the matrix of ±1 in natural order. An item is a row.
class HadamardStage final : public Stage {
 public:
  HadamardStage(const Node& node, Planner& planner, Slot scratch)
      : x_(node.in(0), planner.ops()), y_(node.out(), planner.ops()), columns_(node.out().last_dim()),
        factor_(float_param(node, "scale", 1.0f) / std::sqrt(static_cast<float>(node.out().last_dim()))), from_(planner.slot(node.in(0))), scratch_(scratch), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    for (uint32_t row = begin; row < end; ++row) {
      const int64_t at = int64_t{row} * columns_;
      float* values = reinterpret_cast<float*>(memory[scratch_]) + at;
      for (uint32_t done = 0; done < columns_; done += kBlock) x_.load(memory[from_], at + done, 1, std::min<uint32_t>(kBlock, columns_ - done), values + done);
      for (uint32_t half = 1; half < columns_; half *= 2) {
        for (uint32_t first = 0; first < columns_; first += 2 * half) {
          for (uint32_t i = first; i < first + half; ++i) {
            const float a = values[i], b = values[i + half];
            values[i] = a + b;
            values[i + half] = a - b;
          }
        }
      }
      for (uint32_t i = 0; i < columns_; ++i) values[i] *= factor_;
      y_.store(memory[to_], at, columns_, values);
    }
  }

 private:
  Elements x_, y_;
  uint32_t columns_;
  float factor_;
  Slot from_, scratch_, to_;
};

void check_hadamard(const Node& node) {
  expect_params(node, {"scale"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), kTypeU16 | kTypeS16);
  expect_type(node.out(), type_of(node.in(0)));
  expect_same_shape(node.in(0), node.out());
  if (!std::has_single_bit(node.out().last_dim())) refuse("the last dimension is " + std::to_string(node.out().last_dim()) + ", not a power of two");
  if (!std::isfinite(float_param(node, "scale", 1.0f))) refuse("the scale is not finite");
}

void plan_hadamard(const Node& node, Planner& planner) {
  StagePlan work;
  work.items = rows_of(node.out());
  work.rowwise = true;
  work.row_bytes = size_t{node.out().last_dim()} * (2 * data_type_size(node.out().dtype) + 4);
  const Slot scratch = planner.scratch(node.out().elements() * 4);
  work.reads = {planner.slot(node.in(0))};
  work.writes = {planner.slot(node.out()), scratch};
  work.stage = std::make_unique<HadamardStage>(node, planner, scratch);
  planner.add(std::move(work));
}

constexpr OpDefinition kOps[] = {
    {"CumulativeSum", "input and output of one type of F32, F16, U8, U16, INT32; one axis, exclusive, reverse", check_sum, plan_sum},
    {"HadamardTransform", "input and output of one type of U16, S16; over the last axis, whose length is a power of two", check_hadamard, plan_hadamard},
};

}  // namespace

std::span<const OpDefinition> scan_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
