// Scales, biases and zero points of a matrix product, in the form that its kernel takes.
#pragma once

#include "base/aligned.h"
#include "hostnpu/product.h"

namespace lutra::hostnpu {

/// How a product is computed.
struct ProductMethod {
  bool exists = false;
  bool wide = false;  // 16-bit weights: doubles over F32 codes (product_wide.cc)
  kernels::GemmLayout layout = kernels::GemmLayout::kDotS8;
};
ProductMethod product_method(kernels::Element x, abi::DataType w) noexcept;

/// The encoding of a quantised weight's zero: what is added to its codes, as the kernel has them, is 0 for symmetric ones. U8 codes are packed as code − 128.
int32_t weight_zero(const TensorInfo& w) noexcept;
/// The largest |code + offset| of a quantised type.
int64_t largest_level(kernels::Element type, int64_t offset) noexcept;

class Coefficients {
 public:
  /// `bias` may be NULL. Throws Failure when a constant's data is missing.
  Coefficients(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y);

  /// Bytes of one multiplier or correction.
  size_t width() const noexcept { return wide_ ? 8 : 4; }
  /// Of the corrections of one weight.
  size_t correction_bytes() const noexcept { return size_t{padded_} * width(); }
  const std::byte* multiplier(uint32_t weight) const noexcept { return multiplier_.data() + block(weight) * correction_bytes(); }
  double multiplier_of(uint32_t weight, uint32_t output) const noexcept;
  bool needs_correction() const noexcept { return quantized_ || !bias_.empty(); }
  /// Corrections of outputs [begin, end) of a weight into `out` (correction_bytes()). `sums` are Σ of the weight's packed codes; NULL for float forms.
  void correct(uint32_t weight, const int32_t* sums, uint32_t begin, uint32_t end, std::byte* out) const noexcept;
  /// The bias in units of the accumulator, 0 without one.
  double bias(uint32_t weight, uint32_t output) const noexcept { return bias_.empty() ? 0.0 : bias_.as<double>()[block(weight) * padded_ + output]; }

 private:
  size_t block(uint32_t weight) const noexcept { return outputs_differ_ ? weight : 0; }
  double bias_units(const TensorInfo& tensor, uint32_t index, double step) const;
  void store(size_t index, double value) noexcept;

  kernels::Element type_;
  bool quantized_, wide_, outputs_differ_;
  uint32_t padded_, depth_;
  int64_t zero_ = 0, largest_ = 0;  // zero_: what is added to the prepared codes of x
  AlignedBuffer multiplier_, bias_;
};

/// Product of 16-bit codes: exact in doubles. `prepared` are F32 rows of x's codes, `packed` F32 panels of the weights' codes, both without zero points.
void plan_wide_product(const Product& product, std::shared_ptr<const Coefficients> coefficients, Slot prepared, Slot packed, size_t packed_bytes, const TensorInfo& y, Planner& planner);

}  // namespace lutra::hostnpu
