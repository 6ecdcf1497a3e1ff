// The keys and values of all past positions, heads stored once, shared by prefill and decode.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

#include "base/aligned.h"
#include "kernels/ops/ops.h"

namespace lutra::kv {

enum class Type : uint32_t { kF16 = 0, kF32 = 1, kI8 = 2 };  // the plan's codes

struct Shape {
  uint32_t layers = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t capacity = 0;  // positions
};

/// Per layer two dense arrays, K and V, [kv_heads][capacity][head_dim], so that what attention reads of a head is one stream.
/// With 8 bits a head of a position has one F32 scale, its largest magnitude / 127; scales lie in [kv_heads][capacity] beside the array.
/// Positions that were never written cost address space only. Not thread-safe: one writer at a time, readers only between writes.
class KvCache {
 public:
  /// Throws Error(kInvalidArgument) for a shape with a zero, Error(kOutOfMemory) when there is not even address space.
  KvCache(const Shape& shape, Type type);

  const Shape& shape() const noexcept { return shape_; }
  Type type() const noexcept { return type_; }
  uint32_t capacity() const noexcept { return shape_.capacity; }
  /// Bytes that one position takes in all layers, keys and values.
  size_t bytes_per_position() const noexcept { return 2 * shape_.layers * (row_ * element_size() + (type_ == Type::kI8 ? sizeof(float) * shape_.kv_heads : 0)); }

  /// Positions that count as filled: [0, length()). It is the session's; append does not change it, because the layers of one step append one after another.
  uint32_t length() const noexcept { return length_; }
  /// After a step wrote `n` positions at length() in every layer. Throws Error(kContextFull).
  void advance(uint32_t n);
  /// Forgets positions from `length` on; growing this way is an Error(kInvalidArgument).
  void truncate(uint32_t length);
  /// Throws Error(kContextFull), with both numbers, when `n` more positions after `first` do not fit.
  void check_room(uint32_t first, uint32_t n) const;

  /// Writes rows first_position … first_position + n − 1 of one layer. k, v: F32 [n, kv_heads · head_dim], as many rows as the spans hold; rounded to nearest, ties to even.
  /// Throws Error(kContextFull) beyond the capacity, Error(kInvalidArgument) for another layer or for spans that are not equal whole rows.
  void append(uint32_t layer, uint32_t first_position, std::span<const float> k, std::span<const float> v);

  /// Keys and values of one head, T the cache's type: uint16_t (F16), float or int8_t. Unchecked: the executor asks in its inner loop and the plan was validated.
  template <class T>
  kernels::CachedHead<T> head(uint32_t layer, uint32_t head) const noexcept {
    const Rows &k = k_[layer], &v = v_[layer];
    const size_t position = static_cast<size_t>(head) * shape_.capacity, at = position * shape_.head_dim;
    kernels::CachedHead<T> rows{k.elements.as<T>().data() + at, v.elements.as<T>().data() + at, shape_.head_dim};
    if constexpr (std::is_same_v<T, int8_t>) {
      rows.k_scales = k.scales.as<float>().data() + position;
      rows.v_scales = v.scales.as<float>().data() + position;
    }
    return rows;
  }

 private:
  struct Rows {
    AlignedBuffer elements, scales;
  };

  size_t element_size() const noexcept { return type_ == Type::kI8 ? 1 : type_ == Type::kF16 ? 2 : 4; }
  Rows make_rows() const;
  void write(Rows& layer, uint32_t first_position, std::span<const float> rows) const;

  Shape shape_;
  Type type_;
  size_t row_;  // elements of a position: kv_heads · head_dim
  uint32_t length_ = 0;
  const kernels::OpKernels& ops_;
  std::vector<Rows> k_, v_;  // one a layer
};

}  // namespace lutra::kv
