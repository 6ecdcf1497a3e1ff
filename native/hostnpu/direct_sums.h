// Convolutions that are summed up directly, without a matrix product: filters as numbers in double, sums in double, which are exact for codes.
#pragma once

#include <vector>

#include "hostnpu/elements.h"
#include "hostnpu/product.h"

namespace lutra::hostnpu {

class DirectSums {
 public:
  /// `product` says how the filter w, a constant, is scaled. `bias` may be NULL.
  DirectSums(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y, Planner& planner);

  /// The filter without its scales, in the order of its elements.
  const double* weights() const noexcept { return weights_.data(); }
  /// `count` elements of x from `at` on: codes without the zero point, or floats.
  void load(const std::byte* x, size_t at, size_t count, float* to) const;
  /// Stores `count` ≤ kBlock sums of weights() and loaded elements at `at`; they belong to the outputs from `first` on.
  void store(std::byte* y, size_t at, uint32_t first, uint32_t count, const double* sums) const;

 private:
  std::vector<double> weights_, multiplier_, bias_;
  kernels::Element type_;
  const kernels::NpuOpKernels& ops_;
  int32_t offset_;
  kernels::Affine y_;
};

}  // namespace lutra::hostnpu
