// Reductions over any dimensions: ReduceMean, ReduceSum, ReduceMax, ReduceMin; and L2Norm, which is one and a division.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "hostnpu/elements.h"
#include "hostnpu/groups.h"
#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kTaskElements = 16384;

// ------------------------------------------------------------------------------------------- what is done with two elements

struct Sum {
  /// Sums of reals are kept in double.
  template <class T>
  using Total = std::conditional_t<std::is_same_v<T, float>, double, int64_t>;
  template <class T>
  static T start() { return T{}; }
  template <class T>
  static T join(T a, T b) { return a + b; }
  static double finish(double total, uint32_t) { return total; }
};
struct Mean : Sum {
  static double finish(double total, uint32_t size) { return total / size; }
};
struct SquareSum : Sum {
  template <class T>
  static T join(T a, T b) { return a + b * b; }
};
struct Max {
  template <class T>
  using Total = T;
  template <class T>
  static T start() { return std::is_same_v<T, float> ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest(); }
  template <class T>
  static T join(T a, T b) { return a < b ? b : a; }
  static double finish(double total, uint32_t) { return total; }
};
struct Min {
  template <class T>
  using Total = T;
  template <class T>
  static T start() { return std::is_same_v<T, float> ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max(); }
  template <class T>
  static T join(T a, T b) { return b < a ? b : a; }
  static double finish(double total, uint32_t) { return total; }
};

/// Folds groups of a tensor whose elements are computed with as T (float, int64_t).
template <class Op, class T>
class Fold {
 public:
  using Total = typename Op::template Total<T>;

  Fold(Groups groups, const Elements& x) : groups_(std::move(groups)), x_(x) {}
  const Groups& groups() const noexcept { return groups_; }

  /// One group, whose members are neighbours in each row of them.
  Total along(const std::byte* data, uint32_t group) const {
    constexpr size_t kLanes = 8;  // totals side by side, which do not wait for each other
    alignas(64) T block[kBlock];
    Total lanes[kLanes];
    std::fill_n(lanes, kLanes, Op::template start<Total>());
    const int64_t begin = groups_.begin(group);
    for (uint32_t row = 0; row < groups_.members.rows(); ++row) {
      const int64_t first = begin + groups_.members.row(row)[0];
      for (uint32_t done = 0; done < groups_.members.columns(); done += kBlock) {
        const size_t n = std::min<size_t>(kBlock, groups_.members.columns() - done);
        x_.load(data, first + done, 1, n, block);
        size_t i = 0;
        for (; i + kLanes <= n; i += kLanes) {
          for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] = Op::template join<Total>(lanes[lane], block[i + lane]);
        }
        for (; i < n; ++i) lanes[0] = Op::template join<Total>(lanes[0], block[i]);
      }
    }
    for (size_t lane = 1; lane < kLanes; ++lane) lanes[0] = merge(lanes[0], lanes[lane]);
    return lanes[0];
  }

  /// `n` ≤ kBlock groups that begin beside each other, from `first` on.
  void across(const std::byte* data, uint32_t first, size_t n, Total* totals) const {
    alignas(64) T block[kBlock];
    std::fill_n(totals, n, Op::template start<Total>());
    const int64_t begin = groups_.begin(first);
    for (uint32_t row = 0; row < groups_.members.rows(); ++row) {
      int64_t at = begin + groups_.members.row(row)[0];
      for (uint32_t column = 0; column < groups_.members.columns(); ++column, at += groups_.members.step(0)) {
        x_.load(data, at, groups_.kept.step(0), n, block);
        for (size_t i = 0; i < n; ++i) totals[i] = Op::template join<Total>(totals[i], block[i]);
      }
    }
  }

 private:
  static Total merge(Total a, Total b) {
    if constexpr (std::is_base_of_v<Sum, Op>) return a + b;
    return Op::template join<Total>(a, b);
  }

  Groups groups_;
  Elements x_;
};

// ------------------------------------------------------------------------------------------------------------- reductions

/// An item is a group when a group's members are neighbours, otherwise a run of groups that begin beside each other.
template <class Op, class T>
class ReduceStage final : public Stage {
 public:
  ReduceStage(Groups groups, const Elements& x, Slot from, const Elements& y, Slot to)
      : fold_(std::move(groups), x), y_(y), is_along_(fold_.groups().members.step(0) == 1), from_(from), to_(to) {}

  uint32_t items() const noexcept { return is_along_ ? fold_.groups().count : fold_.groups().kept.rows() * runs(); }
  uint32_t item_elements() const noexcept { return fold_.groups().size * (is_along_ ? 1 : std::min<uint32_t>(kBlock, fold_.groups().kept.columns())); }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    typename Fold<Op, T>::Total totals[kBlock];
    if (is_along_) {
      for (uint32_t first = begin; first < end; first += kBlock) {
        const uint32_t n = std::min<uint32_t>(kBlock, end - first);
        for (uint32_t i = 0; i < n; ++i) totals[i] = fold_.along(memory[from_], first + i);
        store(memory, first, n, totals);
      }
      return;
    }
    const uint32_t columns = fold_.groups().kept.columns();
    for (uint32_t item = begin; item < end; ++item) {
      const uint32_t column = item % runs() * kBlock, first = item / runs() * columns + column, n = std::min<uint32_t>(kBlock, columns - column);
      fold_.across(memory[from_], first, n, totals);
      store(memory, first, n, totals);
    }
  }

 private:
  uint32_t runs() const noexcept { return (fold_.groups().kept.columns() + kBlock - 1) / kBlock; }

  void store(Memory memory, uint32_t first, uint32_t n, const typename Fold<Op, T>::Total* totals) const {
    alignas(64) T results[kBlock];
    for (uint32_t i = 0; i < n; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        results[i] = static_cast<float>(Op::finish(static_cast<double>(totals[i]), fold_.groups().size));
      } else {
        results[i] = totals[i];
      }
    }
    y_.store(memory[to_], first, n, results);
  }

  Fold<Op, T> fold_;
  Elements y_;
  bool is_along_;
  Slot from_, to_;
};

template <class Op, class T>
void add_reduction(Planner& planner, const TensorInfo& x, const std::vector<bool>& folded, const Elements& y, Slot to) {
  Groups groups(x.dims, folded);
  StagePlan work;
  work.rowwise = groups.are_rows;
  work.row_bytes = groups.size * data_type_size(x.dtype);
  const Slot from = planner.slot(x);
  (work.rowwise ? work.reads : work.shared).push_back(from);
  work.writes = {to};
  auto stage = std::make_unique<ReduceStage<Op, T>>(std::move(groups), Elements(x, planner.ops()), from, y, to);
  work.items = stage->items();
  if (!work.rowwise) work.grain = std::max(1u, kTaskElements / stage->item_elements());
  work.stage = std::move(stage);
  planner.add(std::move(work));
}

template <TypeSet Types>
void check_reduce(const Node& node) {
  expect_params(node, {"axes", "keep_dims"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), Types);
  expect_type(node.out(), type_of(node.in(0)));
  expect_dims(node.out(), folded_shape(node.in(0).dims, folded_dims(node), bool_param(node, "keep_dims", false)));
}

template <class Op>
void plan_reduce(const Node& node, Planner& planner) {
  const auto add = (type_of(node.in(0)) & kTypesReal) != 0 ? add_reduction<Op, float> : add_reduction<Op, int64_t>;
  add(planner, node.in(0), folded_dims(node), Elements(node.out(), planner.ops()), planner.slot(node.out()));
}

// ---------------------------------------------------------------------------------------------------------------- L2Norm

/// y = x / sqrt(max(squares, epsilon)), where `squares` is F32 and repeated to the shape of x; an item is a row.
class DivideStage final : public Stage {
 public:
  DivideStage(const Node& node, Planner& planner, Box box, Slot squares)
      : box_(std::move(box)), x_(node.in(0), planner.ops()), y_(node.out(), planner.ops()), epsilon_(float_param(node, "epsilon", kDefaultEpsilon)), from_(planner.slot(node.in(0))),
        squares_(squares), to_(planner.slot(node.out())) {}

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const auto* squares = reinterpret_cast<const float*>(memory[squares_]);
    alignas(64) float block[kBlock];
    for (uint32_t row = begin; row < end; ++row) {
      const auto at = box_.row(row);
      for (uint32_t done = 0; done < box_.columns(); done += kBlock) {
        const uint32_t n = std::min<uint32_t>(kBlock, box_.columns() - done);
        x_.load(memory[from_], at[0] + done, 1, n, block);
        for (uint32_t i = 0; i < n; ++i) block[i] /= std::sqrt(std::max(squares[at[1] + (done + i) * box_.step(1)], epsilon_));
        y_.store(memory[to_], at[0] + done, n, block);
      }
    }
  }
  static constexpr float kDefaultEpsilon = 1e-12f;

 private:
  Box box_;
  Elements x_, y_;
  float epsilon_;
  Slot from_, squares_, to_;
};

std::vector<bool> normed_dims(const Node& node) {
  if (node.param("axes") != nullptr) return folded_dims(node);
  required_param(node, "axis");
  std::vector<bool> folded(node.in(0).dims.size(), false);
  folded[axis_param(node, "axis", folded.size(), 0)] = true;
  return folded;
}

void check_l2_norm(const Node& node) {
  expect_params(node, {"axes", "axis", "epsilon"});
  expect_arity(node, 1, 1);
  expect_type(node.in(0), kTypesReal);
  expect_type(node.out(), type_of(node.in(0)));
  expect_same_shape(node.in(0), node.out());
  normed_dims(node);
  const float epsilon = float_param(node, "epsilon", DivideStage::kDefaultEpsilon);
  if (!std::isfinite(epsilon) || epsilon < 0.0f) refuse("epsilon is negative or not finite");
}

void plan_l2_norm(const Node& node, Planner& planner) {
  const TensorInfo& x = node.in(0);
  const std::vector<bool> folded = normed_dims(node);
  TensorInfo squares;
  squares.dtype = abi::DataType::kFloat32;
  squares.dims = folded_shape(x.dims, folded, true);
  const Slot slot = planner.scratch(squares.bytes());
  add_reduction<SquareSum, float>(planner, x, folded, Elements(squares, planner.ops()), slot);
  StagePlan work;
  work.items = rows_of(x);
  work.rowwise = true;
  work.row_bytes = 2 * size_t{x.last_dim()} * data_type_size(x.dtype);
  work.reads = {planner.slot(x)};
  (squares.elements() == work.items && folded.back() ? work.reads : work.shared).push_back(slot);
  work.writes = {planner.slot(node.out())};
  work.stage = std::make_unique<DivideStage>(node, planner, Box(x.dims, {dense_strides(x.dims), broadcast_strides(squares.dims, x.dims)}, false), slot);
  planner.add(std::move(work));
}

constexpr TypeSet kRealsAndInt = kTypesReal | kTypeI32;
constexpr const char* kSupports = "input and output of one type of F32, F16, U8, S8, U16, S16, INT32; any axes, with or without keep_dims";

constexpr OpDefinition kOps[] = {
    {"ReduceMean", "input and output of one type of F32, F16, U8, S8, U16, S16; any axes, with or without keep_dims", check_reduce<kTypesReal>, plan_reduce<Mean>},
    {"ReduceSum", kSupports, check_reduce<kRealsAndInt>, plan_reduce<Sum>},
    {"ReduceMax", kSupports, check_reduce<kRealsAndInt>, plan_reduce<Max>},
    {"ReduceMin", kSupports, check_reduce<kRealsAndInt>, plan_reduce<Min>},
    {"L2Norm", "input and output of one type of F32, F16, U8, S8, U16, S16; any axes, or one axis", check_l2_norm, plan_l2_norm},
};

}  // namespace

std::span<const OpDefinition> reduce_ops() noexcept { return kOps; }

}  // namespace lutra::hostnpu
