#include "kv/cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "base/error.h"

namespace lutra::kv {
namespace {

const Shape& checked(const Shape& shape) {
  if (shape.layers == 0 || shape.kv_heads == 0 || shape.head_dim == 0 || shape.capacity == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "a KV cache of " + std::to_string(shape.layers) + " layers, " + std::to_string(shape.kv_heads) + " heads of " + std::to_string(shape.head_dim) + " and " +
                    std::to_string(shape.capacity) + " positions is empty",
                "every one of them must be at least 1");
  }
  return shape;
}

}  // namespace

KvCache::KvCache(const Shape& shape, Type type)
    : shape_(checked(shape)), type_(type), row_(size_t{shape.kv_heads} * shape.head_dim), ops_(kernels::op_kernel(best_isa())) {
  // row ≤ 2^64 − 2^33 + 1 never overflows, the product with the capacity can; scales are never more than four bytes an element.
  if (row_ > std::numeric_limits<size_t>::max() / sizeof(float) / shape.capacity) {
    throw Error(ErrorCode::kOutOfMemory, "a KV cache of " + std::to_string(shape.capacity) + " positions is larger than the address space", "use a smaller context");
  }
  k_.reserve(shape.layers);
  v_.reserve(shape.layers);
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    k_.push_back(make_rows());
    v_.push_back(make_rows());
  }
}

KvCache::Rows KvCache::make_rows() const {
  const size_t scales = type_ == Type::kI8 ? sizeof(float) * shape_.kv_heads * shape_.capacity : 0;
  return {AlignedBuffer(row_ * shape_.capacity * element_size(), Pages::kSmall), AlignedBuffer(scales, Pages::kSmall)};
}

void KvCache::check_room(uint32_t first, uint32_t n) const {
  if (first <= shape_.capacity && n <= shape_.capacity - first) return;
  throw Error(ErrorCode::kContextFull,
              "the context holds " + std::to_string(shape_.capacity) + " tokens; " + std::to_string(n) + " more after the first " + std::to_string(first) + " do not fit",
              "shorten the prompt, ask for fewer tokens, or load the model with a larger context");
}

void KvCache::advance(uint32_t n) {
  check_room(length_, n);
  length_ += n;
}

void KvCache::truncate(uint32_t length) {
  if (length > length_) {
    throw Error(ErrorCode::kInvalidArgument, "cannot truncate " + std::to_string(length_) + " positions to " + std::to_string(length), "give a length that is not larger");
  }
  length_ = length;
}

void KvCache::append(uint32_t layer, uint32_t first_position, std::span<const float> k, std::span<const float> v) {
  if (layer >= shape_.layers || k.size() != v.size() || k.size() % row_ != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "cannot append " + std::to_string(k.size()) + " key and " + std::to_string(v.size()) + " value elements to layer " + std::to_string(layer) + " of a cache of " +
                    std::to_string(shape_.layers) + " layers with rows of " + std::to_string(row_),
                "the plan does not fit the model");
  }
  const size_t rows = k.size() / row_;
  check_room(first_position, static_cast<uint32_t>(std::min<size_t>(rows, std::numeric_limits<uint32_t>::max())));
  write(k_[layer], first_position, k);
  write(v_[layer], first_position, v);
}

void KvCache::write(Rows& layer, uint32_t first_position, std::span<const float> rows) const {
  const uint32_t dim = shape_.head_dim;
  for (size_t p = first_position; !rows.empty(); ++p, rows = rows.subspan(row_)) {
    for (size_t head = 0; head < shape_.kv_heads; ++head) {
      const float* from = rows.data() + head * dim;
      const size_t position = head * shape_.capacity + p, at = position * dim;
      switch (type_) {
        case Type::kF16: ops_.f32_to_f16(from, dim, layer.elements.as<uint16_t>().data() + at); break;
        case Type::kF32: std::memcpy(layer.elements.as<float>().data() + at, from, dim * sizeof(float)); break;
        case Type::kI8: ops_.quantize_rows(from, 1, dim, layer.elements.as<int8_t>().data() + at, layer.scales.as<float>().data() + position); break;
      }
    }
  }
}

}  // namespace lutra::kv
