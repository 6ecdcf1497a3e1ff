#include "hostnpu/direct_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "hostnpu/coefficients.h"

namespace lutra::hostnpu {

using kernels::Element;

DirectSums::DirectSums(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y, Planner& planner)
    : type_(product.type), ops_(planner.ops()), offset_(x.affine().offset), y_(y.affine()) {
  planner.slot(w);  // keeps its raw data
  const Coefficients coefficients(product, x, w, bias, y);
  std::vector<float> levels(w.elements());
  ops_.convert({*element_of(w.dtype), {1.0f, w.affine().offset}, w.data->raw().data()}, {Element::kF32, {}, reinterpret_cast<std::byte*>(levels.data())}, levels.size());
  weights_.assign(levels.begin(), levels.end());
  for (uint32_t o = 0; o < product.outputs; ++o) {
    multiplier_.push_back(coefficients.multiplier_of(0, o));
    bias_.push_back(coefficients.bias(0, o));
  }
}

void DirectSums::load(const std::byte* x, size_t at, size_t count, float* to) const {
  ops_.convert({type_, {1.0f, offset_}, x + at * element_size(type_)}, {Element::kF32, {}, reinterpret_cast<std::byte*>(to)}, count);
}

void DirectSums::store(std::byte* y, size_t at, uint32_t first, uint32_t count, const double* sums) const {
  if (!is_quantized(type_)) {
    alignas(64) float values[kBlock];
    for (uint32_t o = 0; o < count; ++o) values[o] = static_cast<float>(sums[o] * multiplier_[first + o] + bias_[first + o]);
    return ops_.convert({Element::kF32, {}, reinterpret_cast<const std::byte*>(values)}, {type_, {}, y + at * element_size(type_)}, count);
  }
  const double lo = lowest_code(type_) + y_.offset, hi = highest_code(type_) + y_.offset;
  for (uint32_t o = 0; o < count; ++o) {
    const double value = std::clamp((sums[o] + bias_[first + o]) * multiplier_[first + o], lo, hi);
    const auto code = static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(value)) - y_.offset);
    std::memcpy(y + (at + o) * element_size(type_), &code, element_size(type_));
  }
}

}  // namespace lutra::hostnpu
