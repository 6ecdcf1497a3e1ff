// The reference: what each op computes, in float64 and exact integers, written as plainly as possible and sharing no code with any backend.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "conformance/tensor.h"

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

using Index = std::vector<size_t>;

/// Calls `body` with every index of a tensor of that shape, the last dimension fastest.
void for_each_index(const Dims& dims, const std::function<void(const Index&)>& body);
/// Element `index` of `values`, which have the shape `dims`.
double at(std::span<const double> values, const Dims& dims, const Index& index);

/// y[i] = x[source(i)], for data movement.
std::vector<double> rearrange(const Tensor& x, const Dims& dims, const std::function<Index(const Index&)>& source);
/// x repeated to `dims`, aligned at the last dimension.
std::vector<double> repeat(const Tensor& x, const Dims& dims);
/// The shape that both repeat to.
Dims repeated_dims(const Dims& a, const Dims& b);

/// x · w of matrices in the last two dimensions, each turned if wished; leading dimensions repeat to those of `dims`. `bias` may be nullptr.
std::vector<double> matmul(const Tensor& x, const Tensor& w, bool turn_x, bool turn_w, const Tensor* bias, const Dims& dims);

struct Convolution {
  uint32_t stride_y, stride_x, dilation_y, dilation_x, top, left, groups;
};
/// x [n, h, w, c] by w [h, w, c / groups, outputs], zeros around the image.
std::vector<double> convolution(const Tensor& x, const Tensor& w, const Tensor* bias, const Convolution& sizes, const Dims& dims);

/// x [n, h, w, c] by w [h, w, c, outputs / groups], each element of x adding its multiples of the filter, `top` rows and `left` columns cut off.
std::vector<double> transposed_convolution(const Tensor& x, const Tensor& w, const Tensor* bias, const Convolution& sizes, const Dims& dims);

struct Pool {
  uint32_t height, width, stride_y, stride_x, top, bottom, left, right;
};
/// One number for each window of each channel: `one` gets the elements in the window, and how many places it has in the padded image.
std::vector<double> pool(const Tensor& x, const Pool& sizes, const Dims& dims, const std::function<double(std::span<const double> inside, size_t places)>& one);

/// Where place `i` of `to` lies among `from` places: corners on corners, pixels as points, or pixels as areas.
enum class Centers { kAligned, kCorner, kHalf };
double resized_place(Centers centers, uint32_t from, uint32_t to, uint32_t i);
/// x [n, h, w, c] resized to `dims` by mixing the four nearest pixels.
std::vector<double> bilinear(const Tensor& x, const Dims& dims, Centers centers);

/// One number for each group of elements that differ only in `axes`, in the order of the other dimensions.
std::vector<double> fold(const Tensor& x, std::span<const uint32_t> axes, const std::function<double(std::span<const double>)>& one);
/// As many numbers as a group has elements, at their places.
std::vector<double> map_groups(const Tensor& x, std::span<const uint32_t> axes, const std::function<std::vector<double>(std::vector<double>)>& all);
/// The shape of one number for each group.
Dims folded_dims(const Dims& dims, std::span<const uint32_t> axes, bool keep_dims);

/// The reals that `x` stores.
std::vector<double> reals(const Tensor& x);

}  // namespace lutra::conformance::reference
