#include "hostnpu/functions.h"

#include <algorithm>
#include <cmath>

namespace lutra::hostnpu {
namespace {

template <auto Op, class T>
void unary(const T* const* in, T* y, size_t count, const Settings& settings) {
  const T* a = in[0];
  for (size_t i = 0; i < count; ++i) y[i] = Op(a[i], settings);
}

template <auto Op, class T>
void binary(const T* const* in, T* y, size_t count, const Settings&) {
  const T *a = in[0], *b = in[1];
  for (size_t i = 0; i < count; ++i) y[i] = Op(a[i], b[i]);
}

template <class T>
void select(const T* const* in, T* y, size_t count, const Settings&) {
  for (size_t i = 0; i < count; ++i) y[i] = in[0][i] != T{} ? in[1][i] : in[2][i];
}

// Sums and products of integers wrap at 64 bits, which no result of a narrower type notices.
int64_t wrap(uint64_t value) { return static_cast<int64_t>(value); }
uint64_t bits(int64_t value) { return static_cast<uint64_t>(value); }

float add(float a, float b) { return a + b; }
int64_t add_i(int64_t a, int64_t b) { return wrap(bits(a) + bits(b)); }
float subtract(float a, float b) { return a - b; }
int64_t subtract_i(int64_t a, int64_t b) { return wrap(bits(a) - bits(b)); }
float multiply(float a, float b) { return a * b; }
int64_t multiply_i(int64_t a, int64_t b) { return wrap(bits(a) * bits(b)); }
float divide(float a, float b) { return a / b; }
int64_t divide_i(int64_t a, int64_t b) { return b == 0 ? 0 : b == -1 ? wrap(0 - bits(a)) : a / b; }
float floor_divide(float a, float b) { return std::floor(a / b); }
int64_t floor_divide_i(int64_t a, int64_t b) {
  const int64_t quotient = divide_i(a, b);
  return b != 0 && b != -1 && a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}
float remainder(float a, float b) { return std::fmod(a, b); }
int64_t remainder_i(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
/// The remainder with the divisor's sign.
float modulo(float a, float b) {
  const float rest = std::fmod(a, b);
  return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}
int64_t modulo_i(int64_t a, int64_t b) {
  const int64_t rest = remainder_i(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
float maximum(float a, float b) { return a < b ? b : a; }
int64_t maximum_i(int64_t a, int64_t b) { return std::max(a, b); }
float minimum(float a, float b) { return b < a ? b : a; }
int64_t minimum_i(int64_t a, int64_t b) { return std::min(a, b); }
float power(float a, float b) { return std::pow(a, b); }
float leaky(float a, float b) { return a < 0.0f ? a * b : a; }
float squared_difference(float a, float b) { return (a - b) * (a - b); }
int64_t squared_difference_i(int64_t a, int64_t b) { return multiply_i(subtract_i(a, b), subtract_i(a, b)); }

template <class T>
T equal(T a, T b) { return static_cast<T>(a == b); }
template <class T>
T not_equal(T a, T b) { return static_cast<T>(a != b); }
template <class T>
T greater(T a, T b) { return static_cast<T>(a > b); }
template <class T>
T greater_equal(T a, T b) { return static_cast<T>(a >= b); }
template <class T>
T less(T a, T b) { return static_cast<T>(a < b); }
template <class T>
T less_equal(T a, T b) { return static_cast<T>(a <= b); }
template <class T>
T both(T a, T b) { return static_cast<T>(a != T{} && b != T{}); }
template <class T>
T either(T a, T b) { return static_cast<T>(a != T{} || b != T{}); }
template <class T>
T one_of(T a, T b) { return static_cast<T>((a != T{}) != (b != T{})); }

using S = const Settings&;
float absolute(float x, S) { return std::abs(x); }
int64_t absolute_i(int64_t x, S) { return x < 0 ? wrap(0 - bits(x)) : x; }
float negate(float x, S) { return -x; }
int64_t negate_i(int64_t x, S) { return wrap(0 - bits(x)); }
template <class T>
T complement(T x, S) { return static_cast<T>(x == T{}); }
float arc_sine(float x, S) { return std::asin(x); }
float arc_tangent(float x, S) { return std::atan(x); }
float ceiling(float x, S) { return std::ceil(x); }
float cosine(float x, S) { return std::cos(x); }
float exponential(float x, S) { return std::exp(x); }
float floor(float x, S) { return std::floor(x); }
float logarithm(float x, S) { return std::log(x); }
float reciprocal(float x, S) { return 1.0f / x; }
float round(float x, S) { return std::nearbyint(x); }
float reciprocal_root(float x, S) { return 1.0f / std::sqrt(x); }
float sign(float x, S) { return static_cast<float>((x > 0.0f) - (x < 0.0f)); }
int64_t sign_i(int64_t x, S) { return (x > 0) - (x < 0); }
float sine(float x, S) { return std::sin(x); }
float root(float x, S) { return std::sqrt(x); }

float elu(float x, S s) { return x > 0.0f ? x : s.alpha * std::expm1(x); }
float gelu(float x, S) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678f)); }
float hard_sigmoid(float x, S s) { return std::clamp(s.alpha * x + s.beta, 0.0f, 1.0f); }
float hard_swish(float x, S) { return x * std::clamp(x + 3.0f, 0.0f, 6.0f) * (1.0f / 6.0f); }
float relu(float x, S) { return x < 0.0f ? 0.0f : x; }
int64_t relu_i(int64_t x, S) { return std::max<int64_t>(x, 0); }
// Not std::clamp: bounds in the wrong order must not be undefined.
float relu_min_max(float x, S s) { return std::min(std::max(x, s.low), s.high); }
/// Bounds of integers are taken towards zero.
int64_t relu_min_max_i(int64_t x, S s) {
  const auto whole = [](float bound) { return static_cast<int64_t>(std::clamp(bound, -0x1p62f, 0x1p62f)); };
  return std::min(std::max(x, whole(s.low)), whole(s.high));
}
float sigmoid(float x, S) { return 1.0f / (1.0f + std::exp(-x)); }
float softplus(float x, S s) { return s.beta * x > s.threshold ? x : std::log1p(std::exp(s.beta * x)) / s.beta; }
float hyperbolic_tangent(float x, S) { return std::tanh(x); }

template <float (*F)(float, float), int64_t (*I)(int64_t, int64_t)>
constexpr Function pair(const char* name) { return {name, 2, false, binary<F, float>, binary<I, int64_t>}; }
template <float (*F)(float, float)>
constexpr Function pair(const char* name) { return {name, 2, false, binary<F, float>, nullptr}; }
template <float (*F)(float, float), int64_t (*I)(int64_t, int64_t)>
constexpr Function truth(const char* name) { return {name, 2, true, binary<F, float>, binary<I, int64_t>}; }
template <float (*F)(float, S)>
constexpr Function single(const char* name) { return {name, 1, false, unary<F, float>, nullptr}; }
template <float (*F)(float, S), int64_t (*I)(int64_t, S)>
constexpr Function single(const char* name) { return {name, 1, false, unary<F, float>, unary<I, int64_t>}; }

constexpr Function kBinary[] = {
    {"Add", 2, false, binary<add, float>, binary<add_i, int64_t>, {}, kernels::BinaryOp::kAdd},
    truth<both<float>, both<int64_t>>("And"),
    pair<divide, divide_i>("Divide"),
    truth<equal<float>, equal<int64_t>>("Equal"),
    pair<floor_divide, floor_divide_i>("FloorDiv"),
    pair<remainder, remainder_i>("Fmod"),
    truth<greater<float>, greater<int64_t>>("Greater"),
    truth<greater_equal<float>, greater_equal<int64_t>>("GreaterEqual"),
    truth<less<float>, less<int64_t>>("Less"),
    truth<less_equal<float>, less_equal<int64_t>>("LessEqual"),
    pair<maximum, maximum_i>("Maximum"),
    pair<minimum, minimum_i>("Minimum"),
    pair<modulo, modulo_i>("Mod"),
    {"Multiply", 2, false, binary<multiply, float>, binary<multiply_i, int64_t>, {}, kernels::BinaryOp::kMultiply},
    truth<not_equal<float>, not_equal<int64_t>>("NotEqual"),
    truth<either<float>, either<int64_t>>("Or"),
    pair<power>("Power"),
    pair<squared_difference, squared_difference_i>("SquaredDifference"),
    pair<subtract, subtract_i>("Subtract"),
    truth<one_of<float>, one_of<int64_t>>("Xor"),
};

constexpr Function kUnary[] = {
    single<absolute, absolute_i>("Abs"),
    single<arc_sine>("Asin"),
    single<arc_tangent>("Atan"),
    single<ceiling>("Ceil"),
    single<cosine>("Cos"),
    single<exponential>("Exp"),
    single<floor>("Floor"),
    single<logarithm>("Log"),
    single<negate, negate_i>("Neg"),
    {"Not", 1, true, unary<complement<float>, float>, unary<complement<int64_t>, int64_t>},
    single<reciprocal>("Reciprocal"),
    single<round>("Round"),
    single<reciprocal_root>("Rsqrt"),
    single<sign, sign_i>("Sign"),
    single<sine>("Sin"),
    single<root>("SquareRoot"),
};

constexpr Function kNeuron[] = {
    single<elu>("Elu"),
    single<gelu>("Gelu"),
    single<hard_sigmoid>("HardSigmoid"),
    single<hard_swish>("HardSwish"),
    {"Relu", 1, false, unary<relu, float>, unary<relu_i, int64_t>, kernels::UnaryOp::kRelu},
    single<relu_min_max, relu_min_max_i>("ReluMinMax"),
    {"Sigmoid", 1, false, unary<sigmoid, float>, nullptr, kernels::UnaryOp::kSigmoid},
    single<softplus>("Softplus"),
    single<hyperbolic_tangent>("Tanh"),
};

constexpr Function kOther[] = {
    {"Select", 3, false, select<float>, select<int64_t>},
    pair<leaky>("Prelu"),
};

}  // namespace

std::span<const Function> binary_functions() noexcept { return kBinary; }
std::span<const Function> unary_functions() noexcept { return kUnary; }
std::span<const Function> neuron_functions() noexcept { return kNeuron; }

std::span<const Function> other_functions() noexcept { return kOther; }

const Function* find_function(std::string_view name) noexcept {
  for (const std::span<const Function> functions : {binary_functions(), unary_functions(), neuron_functions(), other_functions()}) {
    for (const Function& one : functions) {
      if (name == one.name) return &one;
    }
  }
  return nullptr;
}

}  // namespace lutra::hostnpu
