#include "conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace lutra::conformance::reference {
namespace {

/// Stored numbers, minus the zero point where there is one.
template <class T>
std::vector<T> centred(const Tensor& t) {
  std::vector<T> out(t.size());
  const double offset = is_quantized(t.dtype) && t.encoding.kind == qnn::Encoding::Kind::kScaleOffset ? t.encoding.offset : 0;
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<T>(stored(t.dtype, t.bytes, i) + offset);
  return out;
}

/// y[r, o] = Σ x[r, k] · w[o, k], `w` given as [in, out] when `transposed`.
template <class T, class Sum>
std::vector<Sum> product(const std::vector<T>& x, std::vector<T> w, size_t in, size_t out, bool transposed) {
  if (transposed) {
    std::vector<T> turned(w.size());
    for (size_t o = 0; o < out; ++o) {
      for (size_t k = 0; k < in; ++k) turned[o * in + k] = w[k * out + o];
    }
    w = std::move(turned);
  }
  const size_t rows = x.size() / in;
  std::vector<Sum> y(rows * out);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t o = 0; o < out; ++o) {
      Sum sum = 0;
      for (size_t k = 0; k < in; ++k) sum += Sum{x[r * in + k]} * Sum{w[o * in + k]};
      y[r * out + o] = sum;
    }
  }
  return y;
}

}  // namespace

std::vector<double> reals(const Tensor& x) {
  std::vector<double> out(x.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = real(x, x.bytes, i);
  return out;
}

void for_each_index(const Dims& dims, const std::function<void(const Index&)>& body) {
  Index index(dims.size(), 0);
  for (size_t left = element_count(dims); left > 0; --left) {
    body(index);
    for (size_t d = dims.size(); d-- > 0;) {
      if (++index[d] < dims[d]) break;
      index[d] = 0;
    }
  }
}

double at(std::span<const double> values, const Dims& dims, const Index& index) {
  size_t position = 0;
  for (size_t d = 0; d < dims.size(); ++d) {
    if (index.at(d) >= dims[d]) throw std::logic_error("an index of the reference is out of range");
    position = position * dims[d] + index[d];
  }
  return values[position];
}

std::vector<double> rearrange(const Tensor& x, const Dims& dims, const std::function<Index(const Index&)>& source) {
  const std::vector<double> values = reals(x);
  std::vector<double> y;
  for_each_index(dims, [&](const Index& index) { y.push_back(at(values, x.dims, source(index))); });
  return y;
}

std::vector<double> repeat(const Tensor& x, const Dims& dims) {
  return rearrange(x, dims, [&](const Index& index) {
    Index from(index.end() - static_cast<std::ptrdiff_t>(x.dims.size()), index.end());
    for (size_t d = 0; d < from.size(); ++d) from[d] = x.dims[d] == 1 ? 0 : from[d];
    return from;
  });
}

Dims repeated_dims(const Dims& a, const Dims& b) {
  Dims dims = a.size() < b.size() ? b : a;
  const Dims& other = a.size() < b.size() ? a : b;
  for (size_t i = 0; i < other.size(); ++i) {
    uint32_t& dim = dims[dims.size() - other.size() + i];
    dim = std::max(dim, other[i]);
  }
  return dims;
}

std::vector<double> linear(const Tensor& x, const Tensor& weight, const Tensor* bias) {
  const bool conv = weight.dims.size() == 4;
  const size_t in = x.dims.back(), out = conv ? weight.dims[3] : weight.dims[0];
  const std::vector<float>& scales = weight.encoding.scales;
  std::vector<double> y(x.size() / in * out);
  if (is_float(x.dtype)) {
    const auto sums = product<double, double>(centred<double>(x), centred<double>(weight), in, out, conv);
    for (size_t i = 0; i < y.size(); ++i) y[i] = sums[i] * scales[i % out] + (bias == nullptr ? 0 : stored(bias->dtype, bias->bytes, i % out));
    return y;
  }
  const auto sums = product<int32_t, int64_t>(centred<int32_t>(x), centred<int32_t>(weight), in, out, conv);
  for (size_t i = 0; i < y.size(); ++i) {
    const int64_t sum = sums[i] + (bias == nullptr ? 0 : static_cast<int64_t>(stored(bias->dtype, bias->bytes, i % out)));
    y[i] = static_cast<double>(sum) * double{x.encoding.scale} * double{scales[i % out]};
  }
  return y;
}

std::vector<double> binary(bool multiply, const Tensor& a, const Tensor& b) {
  const size_t rank = a.dims.size();
  if (b.dims.size() != rank) throw std::logic_error("element-wise op of two ranks");
  Dims dims(rank);
  for (size_t d = 0; d < rank; ++d) dims[d] = std::max(a.dims[d], b.dims[d]);
  std::vector<double> y(element_count(dims));
  for (size_t i = 0; i < y.size(); ++i) {
    size_t rest = i, at_a = 0, at_b = 0, stride_a = 1, stride_b = 1;
    for (size_t d = rank; d-- > 0;) {
      const size_t index = rest % dims[d];
      rest /= dims[d];
      at_a += a.dims[d] == 1 ? 0 : index * stride_a;
      at_b += b.dims[d] == 1 ? 0 : index * stride_b;
      stride_a *= a.dims[d];
      stride_b *= b.dims[d];
    }
    const double u = real(a, a.bytes, at_a), v = real(b, b.bytes, at_b);
    y[i] = multiply ? u * v : u + v;
  }
  return y;
}

std::vector<double> rms_norm(const Tensor& x, const Tensor& gamma, const Tensor& beta, double epsilon) {
  const size_t length = x.dims.back();
  std::vector<double> y = reals(x);
  for (size_t begin = 0; begin < y.size(); begin += length) {
    double squares = 0;
    for (size_t k = 0; k < length; ++k) squares += y[begin + k] * y[begin + k];
    const double factor = 1 / std::sqrt(squares / static_cast<double>(length) + epsilon);
    for (size_t k = 0; k < length; ++k) y[begin + k] = y[begin + k] * factor * real(gamma, gamma.bytes, k) + real(beta, beta.bytes, k);
  }
  return y;
}

std::vector<double> unary(const std::string& op, const Tensor& x) {
  std::vector<double> y = reals(x);
  for (double& value : y) {
    if (op == "Sigmoid") {
      value = 1 / (1 + std::exp(-value));
    } else if (op == "Relu") {
      value = std::max(value, 0.0);
    } else {
      throw std::logic_error("no reference for " + op);
    }
  }
  return y;
}

std::vector<double> gather(const Tensor& x, const Tensor& indices, size_t axis) {
  size_t inner = 1;
  for (size_t d = axis + 1; d < x.dims.size(); ++d) inner *= x.dims[d];
  const size_t length = x.dims[axis], outer = x.size() / (inner * length);
  std::vector<double> y;
  for (size_t o = 0; o < outer; ++o) {
    for (size_t n = 0; n < indices.size(); ++n) {
      const auto index = static_cast<size_t>(stored(indices.dtype, indices.bytes, n));
      for (size_t i = 0; i < inner; ++i) y.push_back(real(x, x.bytes, (o * length + index) * inner + i));
    }
  }
  return y;
}

}  // namespace lutra::conformance::reference
