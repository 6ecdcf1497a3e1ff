// Layer norm and softmax of a vector tier: included after npu_ops_vector.h, in the same way.
// No #pragma once on purpose: included once by each tier.

/// `left` < kLanes elements, zeros after them.
template <Element T>
LUTRA_VECTOR_INLINE Vector::Value load_tail(const std::byte* p, size_t left, const Vector::Coding& code) {
  alignas(64) std::byte part[kTailBytes] = {};
  std::memcpy(part, p, left * element_size(T));
  return Vector::load<T>(part, code);
}
template <Element T>
LUTRA_VECTOR_INLINE void store_tail(std::byte* p, size_t left, Vector::Value v, const Vector::Coding& code) {
  alignas(64) std::byte part[kTailBytes];
  Vector::store<T>(part, v, code);
  std::memcpy(p, part, left * element_size(T));
}
LUTRA_VECTOR_INLINE void spread(Vector::Value v, float* lanes) {
  Vector::store<Element::kF32>(reinterpret_cast<std::byte*>(lanes), v, Vector::Coding({}, Element::kF32));
}
/// The sum of the first `count` lanes.
LUTRA_VECTOR_INLINE double sum_of(Vector::Value v, size_t count) {
  alignas(64) float lanes[Vector::kLanes];
  spread(v, lanes);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += static_cast<double>(lanes[i]);
  return sum;
}

/// Σ term(x[i]) over a row, in two vectors of floats that are added up in double.
template <Element T, class Term>
LUTRA_VECTOR_INLINE double row_sum(const ConstElements& x, const Vector::Coding& code, uint32_t columns, const Term& term) {
  constexpr size_t kLanes = Vector::kLanes, kSize = element_size(T);
  Vector::Value even = Vector::set(0.0f), odd = even;
  uint32_t i = 0;
  for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
    even = term.add(even, Vector::load<T>(x.data + i * kSize, code));
    odd = term.add(odd, Vector::load<T>(x.data + (i + kLanes) * kSize, code));
  }
  for (; i + kLanes <= columns; i += kLanes) even = term.add(even, Vector::load<T>(x.data + i * kSize, code));
  double sum = sum_of(Vector::add(even, odd), kLanes);
  if (i < columns) sum += sum_of(term.add(Vector::set(0.0f), load_tail<T>(x.data + i * kSize, columns - i, code)), columns - i);
  return sum;
}

struct Itself {
  LUTRA_VECTOR_INLINE Vector::Value add(Vector::Value sum, Vector::Value v) const { return Vector::add(sum, v); }
};
struct SquareBeside {
  Vector::Value mean;
  LUTRA_VECTOR_INLINE Vector::Value add(Vector::Value sum, Vector::Value v) const {
    const Vector::Value off = Vector::sub(v, mean);
    return Vector::fmadd(off, off, sum);
  }
};
struct ExponentialBelow {
  Vector::Value beta, top;
  LUTRA_VECTOR_INLINE Vector::Value below(Vector::Value v) const { return Vector::sub(Vector::mul(v, beta), top); }
  LUTRA_VECTOR_INLINE Vector::Value add(Vector::Value sum, Vector::Value v) const { return Vector::add(sum, exponential(below(v))); }
};

template <Element T>
LUTRA_VECTOR void layer_norm_row(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  constexpr size_t kLanes = Vector::kLanes, kSize = element_size(T);
  const Vector::Coding code_x(x.affine, T), code_y(y.affine, T);
  const SquareBeside square{Vector::set(static_cast<float>(row_sum<T>(x, code_x, columns, Itself{}) / columns))};
  const double variance = row_sum<T>(x, code_x, columns, square) / columns;
  const Vector::Value scale = Vector::set(static_cast<float>(1.0 / std::sqrt(variance + static_cast<double>(epsilon))));
  uint32_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    Vector::Value v = Vector::mul(Vector::sub(Vector::load<T>(x.data + i * kSize, code_x), square.mean), scale);
    if (gain != nullptr) v = Vector::mul(v, Vector::load_floats(gain + i));
    if (bias != nullptr) v = Vector::add(v, Vector::load_floats(bias + i));
    Vector::store<T>(y.data + i * kSize, v, code_y);
  }
  if (i == columns) return;
  const size_t left = columns - i;
  alignas(64) float part[kLanes] = {};
  Vector::Value v = Vector::mul(Vector::sub(load_tail<T>(x.data + i * kSize, left, code_x), square.mean), scale);
  if (gain != nullptr) {
    std::memcpy(part, gain + i, left * 4);
    v = Vector::mul(v, Vector::load_floats(part));
  }
  if (bias != nullptr) {
    std::memcpy(part, bias + i, left * 4);
    v = Vector::add(v, Vector::load_floats(part));
  }
  store_tail<T>(y.data + i * kSize, left, v, code_y);
}

/// The largest beta · x[i].
template <Element T>
LUTRA_VECTOR_INLINE float row_top(const ConstElements& x, const Vector::Coding& code, float beta, uint32_t columns) {
  constexpr size_t kLanes = Vector::kLanes, kSize = element_size(T);
  alignas(64) float lanes[kLanes];
  Vector::Value top = Vector::set(-INFINITY);
  uint32_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) top = Vector::max(Vector::mul(Vector::load<T>(x.data + i * kSize, code), Vector::set(beta)), top);
  spread(top, lanes);
  float highest = lanes[0];
  for (size_t lane = 1; lane < kLanes; ++lane) highest = lanes[lane] > highest ? lanes[lane] : highest;
  if (i == columns) return highest;
  spread(Vector::mul(load_tail<T>(x.data + i * kSize, columns - i, code), Vector::set(beta)), lanes);
  for (size_t lane = 0; lane < columns - i; ++lane) highest = lanes[lane] > highest ? lanes[lane] : highest;
  return highest;
}

/// Three passes over the row, which recompute e^x instead of keeping it: the row may be longer than any buffer.
template <Element From, Element To>
LUTRA_VECTOR void softmax_row(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns) {
  constexpr size_t kLanes = Vector::kLanes, kFrom = element_size(From), kTo = element_size(To);
  const Vector::Coding code_x(x.affine, From), code_y(y.affine, To);
  const ExponentialBelow term{Vector::set(beta), Vector::set(row_top<From>(x, code_x, beta, columns))};
  const double sum = row_sum<From>(x, code_x, columns, term);
  const Vector::Value log_sum = Vector::set(static_cast<float>(std::log(sum))), share = Vector::set(static_cast<float>(1.0 / sum));
  uint32_t i = 0;
  for (; i + kLanes <= columns; i += kLanes) {
    const Vector::Value below = term.below(Vector::load<From>(x.data + i * kFrom, code_x));
    Vector::store<To>(y.data + i * kTo, logarithm ? Vector::sub(below, log_sum) : Vector::mul(exponential(below), share), code_y);
  }
  if (i == columns) return;
  const Vector::Value below = term.below(load_tail<From>(x.data + i * kFrom, columns - i, code_x));
  store_tail<To>(y.data + i * kTo, columns - i, logarithm ? Vector::sub(below, log_sum) : Vector::mul(exponential(below), share), code_y);
}

using SoftmaxRow = void (*)(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns);
template <Element From>
void softmax_to(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns) {
  const SoftmaxRow row = y.type == From ? softmax_row<From, From> : softmax_row<From, Element::kF32>;
  row(x, beta, logarithm, y, columns);
}

void layer_norm(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  switch (x.type) {
    case Element::kF32: return layer_norm_row<Element::kF32>(x, gain, bias, epsilon, y, columns);
    case Element::kF16: return layer_norm_row<Element::kF16>(x, gain, bias, epsilon, y, columns);
    case Element::kU8: return layer_norm_row<Element::kU8>(x, gain, bias, epsilon, y, columns);
    case Element::kS8: return layer_norm_row<Element::kS8>(x, gain, bias, epsilon, y, columns);
    case Element::kU16: return layer_norm_row<Element::kU16>(x, gain, bias, epsilon, y, columns);
    case Element::kS16: return layer_norm_row<Element::kS16>(x, gain, bias, epsilon, y, columns);
  }
}

void softmax(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns) {
  switch (x.type) {
    case Element::kF32: return softmax_to<Element::kF32>(x, beta, logarithm, y, columns);
    case Element::kF16: return softmax_to<Element::kF16>(x, beta, logarithm, y, columns);
    case Element::kU8: return softmax_to<Element::kU8>(x, beta, logarithm, y, columns);
    case Element::kS8: return softmax_to<Element::kS8>(x, beta, logarithm, y, columns);
    case Element::kU16: return softmax_to<Element::kU16>(x, beta, logarithm, y, columns);
    case Element::kS16: return softmax_to<Element::kS16>(x, beta, logarithm, y, columns);
  }
}
