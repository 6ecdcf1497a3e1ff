// Products and convolutions: sums of levels (codes without their zero points), which are exact in double, times the scales.
#include <cmath>
#include <stdexcept>

#include "conformance/reference.h"

namespace lutra::conformance::reference {
namespace {

/// Codes without the zero point; the values of floats.
std::vector<double> levels(const Tensor& t) {
  const bool coded = is_quantized(t.dtype);
  std::vector<double> out(t.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = stored(t.dtype, t.bytes, i) + (coded && t.encoding.kind == qnn::Encoding::Kind::kScaleOffset ? t.encoding.offset : 0);
  return out;
}

double tensor_scale(const Tensor& t) { return is_quantized(t.dtype) ? double{t.encoding.scale} : 1.0; }

/// The scale of a weight's output and, with block scales, of the element's block.
class WeightScale {
 public:
  explicit WeightScale(const Tensor& w) : encoding_(w.encoding), quantized_(is_quantized(w.dtype)) {}
  double of_output(size_t output) const {
    if (!quantized_) return 1.0;
    return encoding_.kind == qnn::Encoding::Kind::kScaleOffset ? double{encoding_.scale} : double{encoding_.scales[output]};
  }
  double of_block(size_t output, size_t k, size_t depth) const {
    if (encoding_.kind != qnn::Encoding::Kind::kBlockwise) return 1.0;
    return encoding_.block_scales[output * encoding_.blocks + k / (depth / encoding_.blocks)];
  }

 private:
  const qnn::Encoding& encoding_;
  bool quantized_;
};

double bias_of(const Tensor* bias, size_t output, double step) {
  if (bias == nullptr) return 0;
  const double value = stored(bias->dtype, bias->bytes, output);
  return is_float(bias->dtype) ? value : value * step;
}

}  // namespace

std::vector<double> matmul(const Tensor& x, const Tensor& w, bool turn_x, bool turn_w, const Tensor* bias, const Dims& dims) {
  const std::vector<double> a = levels(x), b = levels(w);
  const size_t depth = turn_x ? x.dims[x.dims.size() - 2] : x.dims.back();
  const WeightScale scale(w);
  std::vector<double> y;
  for_each_index(dims, [&](const Index& index) {
    const size_t rank = index.size(), row = index[rank - 2], output = index[rank - 1];
    const auto element = [&](const Tensor& t, std::span<const double> values, size_t i, size_t j) {
      Index at(t.dims.size());
      const size_t missing = rank - at.size();
      for (size_t d = 0; d + 2 < at.size(); ++d) at[d] = t.dims[d] == 1 ? 0 : index[missing + d];
      at[at.size() - 2] = i;
      at[at.size() - 1] = j;
      return reference::at(values, t.dims, at);
    };
    double sum = 0;
    for (size_t k = 0; k < depth; ++k) {
      const double left = turn_x ? element(x, a, k, row) : element(x, a, row, k), right = turn_w ? element(w, b, output, k) : element(w, b, k, output);
      sum += left * right * scale.of_block(output, k, depth);
    }
    const double step = tensor_scale(x) * scale.of_output(output);
    y.push_back(sum * step + bias_of(bias, output, step));
  });
  return y;
}

std::vector<double> convolution(const Tensor& x, const Tensor& w, const Tensor* bias, const Convolution& sizes, const Dims& dims) {
  const std::vector<double> a = levels(x), b = levels(w);
  const size_t per_group = x.dims[3] / sizes.groups, outputs = dims[3] / sizes.groups;
  const bool depthwise = w.dims[2] == 1 && per_group == 1;
  const WeightScale scale(w);
  std::vector<double> y;
  for_each_index(dims, [&](const Index& index) {
    const size_t output = index[3], group = output / outputs;
    double sum = 0;
    for (uint32_t fy = 0; fy < w.dims[0]; ++fy) {
      for (uint32_t fx = 0; fx < w.dims[1]; ++fx) {
        const int64_t line = static_cast<int64_t>(index[1] * sizes.stride_y + fy * sizes.dilation_y) - sizes.top, column = static_cast<int64_t>(index[2] * sizes.stride_x + fx * sizes.dilation_x) - sizes.left;
        if (line < 0 || line >= x.dims[1] || column < 0 || column >= x.dims[2]) continue;
        for (size_t c = 0; c < per_group; ++c) {
          const size_t channel = group * per_group + c;
          sum += reference::at(a, x.dims, {index[0], static_cast<size_t>(line), static_cast<size_t>(column), channel}) * reference::at(b, w.dims, {fy, fx, depthwise ? 0 : c, output}) *
                 scale.of_block(output, c, per_group);
        }
      }
    }
    const double step = tensor_scale(x) * scale.of_output(output);
    y.push_back(sum * step + bias_of(bias, output, step));
  });
  return y;
}

std::vector<double> transposed_convolution(const Tensor& x, const Tensor& w, const Tensor* bias, const Convolution& sizes, const Dims& dims) {
  const std::vector<double> a = levels(x), b = levels(w);
  const size_t per_group = x.dims[3] / sizes.groups, outputs = w.dims[3];
  std::vector<double> sums(element_count(dims), 0);
  for_each_index(x.dims, [&](const Index& from) {
    const size_t group = from[3] / per_group;
    for_each_index({w.dims[0], w.dims[1], 1, w.dims[3]}, [&](const Index& filter) {
      const int64_t line = static_cast<int64_t>(from[1] * sizes.stride_y + filter[0]) - sizes.top, column = static_cast<int64_t>(from[2] * sizes.stride_x + filter[1]) - sizes.left;
      if (line < 0 || line >= dims[1] || column < 0 || column >= dims[2]) return;
      const size_t pixel = (from[0] * dims[1] + static_cast<size_t>(line)) * dims[2] + static_cast<size_t>(column);
      sums[pixel * dims[3] + group * outputs + filter[3]] += reference::at(a, x.dims, from) * reference::at(b, w.dims, {filter[0], filter[1], from[3], filter[3]});
    });
  });
  const WeightScale scale(w);
  for (size_t i = 0; i < sums.size(); ++i) {
    const size_t output = i % dims[3];
    const double step = tensor_scale(x) * scale.of_output(output % outputs);
    sums[i] = sums[i] * step + bias_of(bias, output, step);
  }
  return sums;
}

}  // namespace lutra::conformance::reference
