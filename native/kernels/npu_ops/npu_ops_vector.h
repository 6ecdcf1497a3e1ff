// Body of a vector tier. The including file has defined, inside namespace lutra::kernels and an anonymous namespace:
//   LUTRA_VECTOR, LUTRA_VECTOR_INLINE   target attribute; the same with always_inline
//   struct Vector                       kLanes, Value, and static load<Element>, store<Element>, arithmetic
// It is a textual include because functions can only be inlined into functions with the same target attribute.
// No #pragma once on purpose: included once by each tier.

constexpr size_t kTailBytes = Vector::kLanes * 4;

struct Convert {
  static constexpr int kInputs = 1;
  LUTRA_VECTOR_INLINE static Vector::Value apply(Vector::Value a, Vector::Value) { return a; }
};
struct Relu {
  static constexpr int kInputs = 1;
  // The operand order makes a NaN pass.
  LUTRA_VECTOR_INLINE static Vector::Value apply(Vector::Value a, Vector::Value) { return Vector::max(Vector::set(0.0f), a); }
};
/// e^x for |x| ≤ 87, of values beyond e^±87: 2^n · e^r with |r| ≤ ln 2 / 2, e^r by its Taylor polynomial of degree 7 (relative error below 1e-8).
LUTRA_VECTOR_INLINE Vector::Value exponential(Vector::Value a) {
  const Vector::Value one = Vector::set(1.0f);
  const Vector::Value x = Vector::min(Vector::set(87.0f), Vector::max(Vector::set(-87.0f), a));
  const Vector::Value n = Vector::round(Vector::mul(x, Vector::set(1.44269504f)));
  // ln 2 in two parts, the first short enough that n · part is exact.
  const Vector::Value r = Vector::fnmadd(n, Vector::set(-2.12194440e-4f), Vector::fnmadd(n, Vector::set(0.693359375f), x));
  Vector::Value p = Vector::set(1.0f / 5040.0f);
  p = Vector::fmadd(p, r, Vector::set(1.0f / 720.0f));
  p = Vector::fmadd(p, r, Vector::set(1.0f / 120.0f));
  p = Vector::fmadd(p, r, Vector::set(1.0f / 24.0f));
  p = Vector::fmadd(p, r, Vector::set(1.0f / 6.0f));
  p = Vector::fmadd(p, r, Vector::set(0.5f));
  p = Vector::fmadd(p, r, one);
  p = Vector::fmadd(p, r, one);
  return Vector::scale_by_power(p, n);
}

struct Sigmoid {
  static constexpr int kInputs = 1;
  LUTRA_VECTOR_INLINE static Vector::Value apply(Vector::Value a, Vector::Value) {
    const Vector::Value one = Vector::set(1.0f);
    return Vector::div(one, Vector::add(one, exponential(Vector::sub(Vector::set(0.0f), a))));
  }
};
struct Add {
  static constexpr int kInputs = 2;
  LUTRA_VECTOR_INLINE static Vector::Value apply(Vector::Value a, Vector::Value b) { return Vector::add(a, b); }
};
struct Multiply {
  static constexpr int kInputs = 2;
  LUTRA_VECTOR_INLINE static Vector::Value apply(Vector::Value a, Vector::Value b) { return Vector::mul(a, b); }
};

/// y = Op(a, b) over `count` elements; b is not read by an Op of one input.
template <class Op, Element From, Element To>
LUTRA_VECTOR void map(const ConstElements& a, const ConstElements& b, const Elements& y, size_t count) {
  constexpr size_t kLanes = Vector::kLanes, kFrom = element_size(From), kTo = element_size(To);
  const Vector::Coding code_a(a.affine, From), code_b(b.affine, From), code_y(y.affine, To);
  const std::byte* pa = a.data;
  const std::byte* pb = b.data;
  std::byte* py = y.data;
  size_t left = count;
  for (; left >= kLanes; left -= kLanes) {
    const Vector::Value va = Vector::load<From>(pa, code_a);
    Vector::Value vb = va;
    if constexpr (Op::kInputs == 2) vb = Vector::load<From>(pb, code_b);
    Vector::store<To>(py, Op::apply(va, vb), code_y);
    pa += kLanes * kFrom;
    if constexpr (Op::kInputs == 2) pb += kLanes * kFrom;
    py += kLanes * kTo;
  }
  if (left == 0) return;
  alignas(64) std::byte part_a[kTailBytes] = {}, part_b[kTailBytes] = {}, part_y[kTailBytes];
  std::memcpy(part_a, pa, left * kFrom);
  if constexpr (Op::kInputs == 2) std::memcpy(part_b, pb, left * kFrom);
  Vector::store<To>(part_y, Op::apply(Vector::load<From>(part_a, code_a), Vector::load<From>(part_b, code_b)), code_y);
  std::memcpy(py, part_y, left * kTo);
}

template <Element Type>
LUTRA_VECTOR void rms_norm_row(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  constexpr size_t kLanes = Vector::kLanes, kSize = element_size(Type);
  const Vector::Coding code_x(x.affine, Type), code_y(y.affine, Type);
  const uint32_t whole = columns / kLanes * kLanes;
  alignas(64) std::byte part[kTailBytes];
  Vector::Value even = Vector::set(0.0f), odd = even, v;
  uint32_t i = 0;
  for (; i + 2 * kLanes <= columns; i += 2 * kLanes) {
    v = Vector::load<Type>(x.data + i * kSize, code_x);
    even = Vector::fmadd(v, v, even);
    v = Vector::load<Type>(x.data + (i + kLanes) * kSize, code_x);
    odd = Vector::fmadd(v, v, odd);
  }
  for (; i < whole; i += kLanes) {
    v = Vector::load<Type>(x.data + i * kSize, code_x);
    even = Vector::fmadd(v, v, even);
  }
  alignas(64) float lanes[kLanes];
  Vector::store<Element::kF32>(reinterpret_cast<std::byte*>(lanes), Vector::add(even, odd), Vector::Coding({}, Element::kF32));
  double squares = 0;
  for (size_t lane = 0; lane < kLanes; ++lane) squares += lanes[lane];
  if (whole < columns) {
    std::memset(part, 0, sizeof part);
    std::memcpy(part, x.data + whole * kSize, (columns - whole) * kSize);
    Vector::store<Element::kF32>(reinterpret_cast<std::byte*>(lanes), Vector::load<Type>(part, code_x), Vector::Coding({}, Element::kF32));
    for (uint32_t lane = 0; lane < columns - whole; ++lane) squares += static_cast<double>(lanes[lane]) * lanes[lane];
  }
  const Vector::Value scale = Vector::set(static_cast<float>(1.0 / std::sqrt(squares / columns + epsilon)));
  for (i = 0; i < whole; i += kLanes) {
    v = Vector::mul(Vector::mul(Vector::load<Type>(x.data + i * kSize, code_x), scale), Vector::load_floats(gain + i));
    if (bias != nullptr) v = Vector::add(v, Vector::load_floats(bias + i));
    Vector::store<Type>(y.data + i * kSize, v, code_y);
  }
  if (whole == columns) return;
  alignas(64) float tail_gain[kLanes] = {}, tail_bias[kLanes] = {};
  std::memcpy(tail_gain, gain + whole, (columns - whole) * 4);
  if (bias != nullptr) std::memcpy(tail_bias, bias + whole, (columns - whole) * 4);
  std::memset(part, 0, sizeof part);
  std::memcpy(part, x.data + whole * kSize, (columns - whole) * kSize);
  v = Vector::mul(Vector::mul(Vector::load<Type>(part, code_x), scale), Vector::load_floats(tail_gain));
  if (bias != nullptr) v = Vector::add(v, Vector::load_floats(tail_bias));
  Vector::store<Type>(part, v, code_y);
  std::memcpy(y.data + whole * kSize, part, (columns - whole) * kSize);
}

using Map = void (*)(const ConstElements& a, const ConstElements& b, const Elements& y, size_t count);

template <Element From>
constexpr Map kConvertFrom[kElementCount] = {map<Convert, From, Element::kF32>, map<Convert, From, Element::kF16>, map<Convert, From, Element::kU8>,
                                             map<Convert, From, Element::kS8>, map<Convert, From, Element::kU16>, map<Convert, From, Element::kS16>};
constexpr const Map* kConvert[kElementCount] = {kConvertFrom<Element::kF32>, kConvertFrom<Element::kF16>, kConvertFrom<Element::kU8>, kConvertFrom<Element::kS8>,
                                                kConvertFrom<Element::kU16>, kConvertFrom<Element::kS16>};
/// An Op on one type, for each type.
template <class Op>
constexpr Map kSameType[kElementCount] = {map<Op, Element::kF32, Element::kF32>, map<Op, Element::kF16, Element::kF16>, map<Op, Element::kU8, Element::kU8>,
                                          map<Op, Element::kS8, Element::kS8>, map<Op, Element::kU16, Element::kU16>, map<Op, Element::kS16, Element::kS16>};

void convert(const ConstElements& x, const Elements& y, size_t count) { kConvert[static_cast<size_t>(x.type)][static_cast<size_t>(y.type)](x, x, y, count); }

void unary(UnaryOp op, const ConstElements& x, const Elements& y, size_t count) {
  const Map* table = op == UnaryOp::kSigmoid ? kSameType<Sigmoid> : kSameType<Relu>;
  table[static_cast<size_t>(x.type)](x, x, y, count);
}

void binary(BinaryOp op, const ConstElements& a, const ConstElements& b, const Elements& y, size_t count) {
  const Map* table = op == BinaryOp::kAdd ? kSameType<Add> : kSameType<Multiply>;
  table[static_cast<size_t>(a.type)](a, b, y, count);
}

void rms_norm(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  switch (x.type) {
    case Element::kF32: return rms_norm_row<Element::kF32>(x, gain, bias, epsilon, y, columns);
    case Element::kF16: return rms_norm_row<Element::kF16>(x, gain, bias, epsilon, y, columns);
    case Element::kU8: return rms_norm_row<Element::kU8>(x, gain, bias, epsilon, y, columns);
    case Element::kS8: return rms_norm_row<Element::kS8>(x, gain, bias, epsilon, y, columns);
    case Element::kU16: return rms_norm_row<Element::kU16>(x, gain, bias, epsilon, y, columns);
    case Element::kS16: return rms_norm_row<Element::kS16>(x, gain, bias, epsilon, y, columns);
  }
}
