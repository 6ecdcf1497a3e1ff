// Runs of a tensor's elements as numbers that an op computes with: F32 of real values, or 64-bit integers of integer types.
#pragma once

#include <cstddef>
#include <cstdint>

#include "hostnpu/tensor.h"

namespace lutra::hostnpu {

/// Elements that an op loads at once onto its stack.
inline constexpr size_t kBlock = 256;

/// How a tensor stores its elements.
class Elements {
 public:
  Elements() = default;
  /// Throws Failure for types that have neither reals nor integers.
  Elements(const TensorInfo& tensor, const kernels::NpuOpKernels& ops);

  size_t size() const noexcept { return size_; }
  /// INT8 … INT64, UINT8 … UINT64, BOOL8.
  bool is_integer() const noexcept { return is_integer_; }
  std::optional<kernels::Element> element() const noexcept { return element_; }
  kernels::Affine affine() const noexcept { return affine_; }

  /// `count` ≤ kBlock reals, neighbours `step` elements apart (any step), from element `at` on.
  void load(const std::byte* data, int64_t at, int64_t step, size_t count, float* to) const;
  /// The same as integers; of quantised types code + offset. Not for float types.
  void load(const std::byte* data, int64_t at, int64_t step, size_t count, int64_t* to) const;
  /// Neighbours are stored densely. Integer types take the value towards zero, saturated; BOOL8 whether it is not 0.
  void store(std::byte* data, int64_t at, size_t count, const float* from) const;
  void store(std::byte* data, int64_t at, size_t count, const int64_t* from) const;

 private:
  int64_t integer_at(const std::byte* p) const noexcept;
  void put_integer(std::byte* p, int64_t value) const noexcept;

  const kernels::NpuOpKernels* ops_ = nullptr;
  abi::DataType dtype_ = abi::DataType::kUndefined;
  std::optional<kernels::Element> element_;
  kernels::Affine affine_;
  size_t size_ = 0;
  bool is_integer_ = false;
};

/// True for INT*, UINT* and BOOL8.
bool is_integer_type(abi::DataType type) noexcept;

/// Copies `count` elements of `size` bytes (1, 2, 4 or 8) between strided places; the steps are in elements.
void copy_strided(const std::byte* from, int64_t from_step, std::byte* to, int64_t to_step, size_t count, size_t size);

}  // namespace lutra::hostnpu
