// The reference: what each op computes, in float64 and exact integers, written as plainly as possible and sharing no code with any backend.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tensor.h"

namespace lutra::conformance::reference {

/// FullyConnected (weight [out, in]) or Conv2d 1×1 (weight [1, 1, in, out]); S8 weights with a scale per output. Quantised x gives an exact integer sum, to
/// which an S32 bias is added, times x's scale times the output's scale; F16 x is summed in float64. `bias` may be nullptr.
std::vector<double> linear(const Tensor& x, const Tensor& weight, const Tensor* bias);

/// Add or multiply; dimensions of length 1 are repeated.
std::vector<double> binary(bool multiply, const Tensor& a, const Tensor& b);

/// x · gamma / sqrt(mean(x²) + epsilon) + beta over the last axis.
std::vector<double> rms_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon);

/// "Sigmoid" or "Relu".
std::vector<double> unary(const std::string& op, const Tensor& x);

/// x with dimension `axis` replaced by the indices' shape.
std::vector<double> gather(const Tensor& x, const Tensor& indices, size_t axis);

/// The reals that `x` stores.
std::vector<double> reals(const Tensor& x);

}  // namespace lutra::conformance::reference
