#include "hostnpu/coefficients.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/f16.h"

namespace lutra::hostnpu {
namespace {

using kernels::Element;
using kernels::GemmLayout;
using kernels::kGemmPanel;

const std::byte* raw_data(const TensorInfo& tensor) {
  if (tensor.data == nullptr || !tensor.data->has_raw()) throw Failure(abi::kGraphFinalizeFailed, "constant '" + tensor.name + "' has no data");
  return tensor.data->raw().data();
}

double weight_scale(const TensorInfo& w, uint32_t index) {
  const auto& values = w.quantization.values;
  return values.empty() ? 1.0 : values[values.size() == 1 ? 0 : index].scale;
}

}  // namespace

ProductMethod product_method(Element x, abi::DataType w) noexcept {
  using D = abi::DataType;
  if (x == Element::kF32) return {w == D::kFloat32, false, GemmLayout::kFloatF32};
  if (x == Element::kF16) return {w == D::kSfixed8 || w == D::kFloat16, false, w == D::kSfixed8 ? GemmLayout::kFloatS8 : GemmLayout::kFloatF16};
  if (w == D::kSfixed8 || w == D::kUfixed8) return {true, false, GemmLayout::kDotS8};
  return {is_16_bit(x) && (w == D::kUfixed16 || w == D::kSfixed16), true, GemmLayout::kFloatF32};
}

int32_t weight_zero(const TensorInfo& w) noexcept { return w.affine().offset + (w.dtype == abi::DataType::kUfixed8 ? 128 : 0); }

int64_t largest_level(Element type, int64_t offset) noexcept { return std::max(std::abs(lowest_code(type) + offset), std::abs(highest_code(type) + offset)); }

Coefficients::Coefficients(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y)
    : type_(product.type), quantized_(is_quantized(product.type)), wide_(is_16_bit(product.type)), outputs_differ_(product.outputs_differ),
      padded_(kernels::gemm_panels(product.outputs) * kGemmPanel), depth_(product.depth) {
  // Signed codes are prepared as unsigned ones; the largest weight level is that of S8 or of a U8 with a zero point.
  zero_ = quantized_ ? static_cast<int64_t>(x.affine().offset) + lowest_code(type_) : 0;
  largest_ = quantized_ ? largest_level(type_, x.affine().offset) * (128 + std::abs(weight_zero(w))) : 0;
  const uint32_t blocks = outputs_differ_ ? static_cast<uint32_t>(product.weights.size()) : 1;
  multiplier_ = AlignedBuffer(size_t{blocks} * correction_bytes());
  if (bias != nullptr) bias_ = AlignedBuffer::of<double>(size_t{blocks} * padded_);
  for (uint32_t b = 0; b < blocks; ++b) {
    for (uint32_t o = 0; o < product.outputs; ++o) {
      const uint32_t index = b * product.outputs + o;
      const size_t at = size_t{b} * padded_ + o;
      const double weight = weight_scale(w, index);
      const double step = quantized_ ? static_cast<double>(x.affine().scale) * weight : 1.0;
      if (bias != nullptr) bias_.as<double>()[at] = bias_units(*bias, index, step);
      store(at, quantized_ ? step / y.affine().scale : weight);
    }
  }
}

double Coefficients::multiplier_of(uint32_t weight, uint32_t output) const noexcept {
  const std::byte* at = multiplier(weight) + output * width();
  if (!wide_) {
    float narrow;
    std::memcpy(&narrow, at, 4);
    return narrow;
  }
  double value;
  std::memcpy(&value, at, 8);
  return value;
}

void Coefficients::correct(uint32_t weight, const int32_t* sums, uint32_t begin, uint32_t end, std::byte* out) const noexcept {
  for (uint32_t o = begin; o < end; ++o) {
    const double add = bias(weight, o);
    if (!quantized_) {
      const auto value = static_cast<float>(add);
      std::memcpy(out + size_t{o} * 4, &value, 4);
    } else if (wide_) {
      const double value = static_cast<double>(zero_ * sums[o]) + add;
      std::memcpy(out + size_t{o} * 8, &value, 8);
    } else {
      const auto value = static_cast<int32_t>(zero_ * sums[o] + static_cast<int64_t>(add));
      std::memcpy(out + size_t{o} * 4, &value, 4);
    }
  }
}

double Coefficients::bias_units(const TensorInfo& tensor, uint32_t index, double step) const {
  const std::byte* raw = raw_data(tensor);
  if (type_ == Element::kF16) {
    uint16_t half;
    std::memcpy(&half, raw + size_t{index} * 2, 2);
    return f16_to_f32(half);
  }
  if (type_ == Element::kF32) {
    float value;
    std::memcpy(&value, raw + size_t{index} * 4, 4);
    return value;
  }
  int32_t code = 0;
  if (tensor.dtype == abi::DataType::kUfixed8) {
    code = static_cast<uint8_t>(raw[index]);
  } else {
    std::memcpy(&code, raw + size_t{index} * 4, 4);
  }
  const auto& values = tensor.quantization.values;
  const kernels::Affine encoding = values.empty() ? kernels::Affine{0.0f, 0} : values[values.size() == 1 ? 0 : index];
  const double units = static_cast<double>(code) + encoding.offset;
  if (units == 0.0) return 0.0;
  double exact = units;
  if (encoding.scale > 0.0f) {  // scale 0 or none: in units of the accumulator by convention
    if (!(step > 0.0)) throw Failure(abi::kGraphFinalizeFailed, "output " + std::to_string(index) + " has a bias but a weight scale of 0");
    const double ratio = encoding.scale / step;
    // F32 scales that mean the same product differ in their last bits.
    if (std::abs(ratio - 1.0) > 1e-4) exact = std::nearbyint(units * ratio);
  }
  if (wide_) return exact;
  // Keeps bias + sum in 32 bits; a bias at that bound exceeds every sum by far.
  const double room = std::max(0.0, 2147483647.0 - static_cast<double>(largest_) * depth_);
  return std::clamp(exact, -room, room);
}

void Coefficients::store(size_t index, double value) noexcept {
  if (wide_) {
    std::memcpy(multiplier_.data() + index * 8, &value, 8);
    return;
  }
  // An output scale next to nothing would make it infinite, and 0 · ∞ is no number.
  const auto narrow = static_cast<float>(std::min(value, static_cast<double>(std::numeric_limits<float>::max())));
  std::memcpy(multiplier_.data() + index * 4, &narrow, 4);
}

}  // namespace lutra::hostnpu
