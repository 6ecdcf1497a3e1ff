// A box of elements that several tensors are walked over together: broadcasts, slices and transpositions are boxes with other strides.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lutra::hostnpu {

/// Distances in elements between neighbours of each dimension of a dense tensor.
std::vector<int64_t> dense_strides(std::span<const uint32_t> dims);
/// The same of a tensor of shape `dims` that is repeated to the shape `whole`, aligned at the last dimension: 0 where it is repeated. Empty when it does not fit.
std::vector<int64_t> broadcast_strides(std::span<const uint32_t> dims, std::span<const uint32_t> whole);
/// The shape that both repeat to. Empty when there is none.
std::vector<uint32_t> broadcast_dims(std::span<const uint32_t> a, std::span<const uint32_t> b);

class Box {
 public:
  static constexpr size_t kMaxOperands = 4;
  static constexpr size_t kMaxRank = 16;

  /// `strides[i]` of operand i have the length of `dims`. Outer dimensions that are dense in every operand become one; the last one too, if `join_last`.
  Box(std::vector<uint32_t> dims, std::vector<std::vector<int64_t>> strides, bool join_last);

  uint32_t rows() const noexcept { return rows_; }
  uint32_t columns() const noexcept { return columns_; }
  /// Distance between neighbours in a row.
  int64_t step(size_t operand) const noexcept { return steps_[operand]; }
  /// True when rows follow on each other without a gap, as in a dense tensor.
  bool dense(size_t operand) const noexcept;
  /// The first elements of a row, by operand.
  std::array<int64_t, kMaxOperands> row(uint32_t index) const noexcept;

 private:
  size_t operands_ = 0;
  size_t outer_ = 0;  // dimensions without the last one
  uint32_t rows_ = 1, columns_ = 1;
  std::array<uint32_t, kMaxRank> dims_{};
  std::array<std::array<int64_t, kMaxOperands>, kMaxRank> strides_{};
  std::array<int64_t, kMaxOperands> steps_{};
};

}  // namespace lutra::hostnpu
