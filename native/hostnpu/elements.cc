#include "hostnpu/elements.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace lutra::hostnpu {
namespace {

template <class T>
int64_t read(const std::byte* p) noexcept {
  T value;
  std::memcpy(&value, p, sizeof value);
  return static_cast<int64_t>(value);
}

template <class T>
void write(std::byte* p, int64_t value) noexcept {
  const auto narrow = static_cast<T>(value);
  std::memcpy(p, &narrow, sizeof narrow);
}

struct Range {
  int64_t low, high;
};
Range range_of(abi::DataType type) noexcept {
  switch (type) {
    case abi::DataType::kInt8: return {INT8_MIN, INT8_MAX};
    case abi::DataType::kUint8: return {0, UINT8_MAX};
    case abi::DataType::kInt16: return {INT16_MIN, INT16_MAX};
    case abi::DataType::kUint16: return {0, UINT16_MAX};
    case abi::DataType::kInt32: return {INT32_MIN, INT32_MAX};
    case abi::DataType::kUint32: return {0, UINT32_MAX};
    case abi::DataType::kUint64: return {0, INT64_MAX};
    default: return {INT64_MIN, INT64_MAX};
  }
}

template <class T>
void copy_elements(const std::byte* from, int64_t from_step, std::byte* to, int64_t to_step, size_t count) {
  const auto source = static_cast<ptrdiff_t>(from_step) * static_cast<ptrdiff_t>(sizeof(T)), target = static_cast<ptrdiff_t>(to_step) * static_cast<ptrdiff_t>(sizeof(T));
  for (size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, from + static_cast<ptrdiff_t>(i) * source, sizeof(T));
    std::memcpy(to + static_cast<ptrdiff_t>(i) * target, &value, sizeof(T));
  }
}

}  // namespace

bool is_integer_type(abi::DataType type) noexcept {
  switch (type) {
    case abi::DataType::kInt8:
    case abi::DataType::kInt16:
    case abi::DataType::kInt32:
    case abi::DataType::kInt64:
    case abi::DataType::kUint8:
    case abi::DataType::kUint16:
    case abi::DataType::kUint32:
    case abi::DataType::kUint64:
    case abi::DataType::kBool8: return true;
    default: return false;
  }
}

Elements::Elements(const TensorInfo& tensor, const kernels::NpuOpKernels& ops)
    : ops_(&ops), dtype_(tensor.dtype), element_(element_of(tensor.dtype)), affine_(tensor.affine()), size_(data_type_size(tensor.dtype)) {
  is_integer_ = is_integer_type(dtype_);
  if (!element_ && !is_integer_) throw Failure(abi::kGraphFinalizeFailed, "'" + tensor.name + "' is " + data_type_name(tensor.dtype));
}

int64_t Elements::integer_at(const std::byte* p) const noexcept {
  switch (dtype_) {
    case abi::DataType::kInt8: return read<int8_t>(p);
    case abi::DataType::kUint8:
    case abi::DataType::kBool8: return read<uint8_t>(p);
    case abi::DataType::kInt16: return read<int16_t>(p);
    case abi::DataType::kUint16: return read<uint16_t>(p);
    case abi::DataType::kUint32: return read<uint32_t>(p);
    case abi::DataType::kInt64:
    case abi::DataType::kUint64: return read<int64_t>(p);
    case abi::DataType::kUfixed8: return read<uint8_t>(p) + affine_.offset;
    case abi::DataType::kSfixed8: return read<int8_t>(p) + affine_.offset;
    case abi::DataType::kUfixed16: return read<uint16_t>(p) + affine_.offset;
    case abi::DataType::kSfixed16: return read<int16_t>(p) + affine_.offset;
    default: return read<int32_t>(p);
  }
}

void Elements::put_integer(std::byte* p, int64_t value) const noexcept {
  if (dtype_ == abi::DataType::kBool8) return write<uint8_t>(p, value != 0 ? 1 : 0);
  const Range range = range_of(dtype_);
  value = std::clamp(value, range.low, range.high);
  switch (size_) {
    case 1: return write<uint8_t>(p, value);
    case 2: return write<uint16_t>(p, value);
    case 4: return write<uint32_t>(p, value);
    default: return write<int64_t>(p, value);
  }
}

void Elements::load(const std::byte* data, int64_t at, int64_t step, size_t count, float* to) const {
  const std::byte* from = data + at * static_cast<int64_t>(size_);
  if (!element_) {
    for (size_t i = 0; i < count; ++i) to[i] = static_cast<float>(integer_at(from + static_cast<int64_t>(i) * step * static_cast<int64_t>(size_)));
    return;
  }
  const kernels::Elements floats{kernels::Element::kF32, {}, reinterpret_cast<std::byte*>(to)};
  if (step == 1 || count == 1) return ops_->convert({*element_, affine_, from}, floats, count);
  if (step == 0) {
    ops_->convert({*element_, affine_, from}, floats, 1);
    std::fill_n(to + 1, count - 1, to[0]);
    return;
  }
  alignas(64) std::byte dense[kBlock * 4];
  copy_strided(from, step, dense, 1, count, size_);
  ops_->convert({*element_, affine_, dense}, floats, count);
}

void Elements::load(const std::byte* data, int64_t at, int64_t step, size_t count, int64_t* to) const {
  const std::byte* from = data + at * static_cast<int64_t>(size_);
  for (size_t i = 0; i < count; ++i) to[i] = integer_at(from + static_cast<int64_t>(i) * step * static_cast<int64_t>(size_));
}

void Elements::store(std::byte* data, int64_t at, size_t count, const float* from) const {
  std::byte* to = data + at * static_cast<int64_t>(size_);
  if (element_) return ops_->convert({kernels::Element::kF32, {}, reinterpret_cast<const std::byte*>(from)}, {*element_, affine_, to}, count);
  const Range range = range_of(dtype_);
  const auto low = static_cast<double>(range.low), high = static_cast<double>(range.high);
  for (size_t i = 0; i < count; ++i) {
    if (dtype_ == abi::DataType::kBool8) {
      put_integer(to + i, from[i] != 0.0f);
      continue;
    }
    const double value = std::isnan(from[i]) ? 0.0 : std::trunc(static_cast<double>(from[i]));
    // 2^63 as a double is beyond the largest integer.
    const int64_t whole = value >= high ? range.high : value <= low ? range.low : static_cast<int64_t>(value);
    put_integer(to + i * size_, whole);
  }
}

void Elements::store(std::byte* data, int64_t at, size_t count, const int64_t* from) const {
  std::byte* to = data + at * static_cast<int64_t>(size_);
  for (size_t i = 0; i < count; ++i) put_integer(to + i * size_, from[i]);
}

void copy_strided(const std::byte* from, int64_t from_step, std::byte* to, int64_t to_step, size_t count, size_t size) {
  if (from_step == 1 && to_step == 1) {
    std::memmove(to, from, count * size);
    return;
  }
  switch (size) {
    case 1: return copy_elements<uint8_t>(from, from_step, to, to_step, count);
    case 2: return copy_elements<uint16_t>(from, from_step, to, to_step, count);
    case 4: return copy_elements<uint32_t>(from, from_step, to, to_step, count);
    default: return copy_elements<uint64_t>(from, from_step, to, to_step, count);
  }
}

}  // namespace lutra::hostnpu
