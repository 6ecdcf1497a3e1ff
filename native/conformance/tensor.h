// Tensors of a conformance case: what a library is given, and what its result is compared with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "qnn/tensor.h"

namespace lutra::conformance {

using DT = qnn::abi::DataType;
using Dims = std::vector<uint32_t>;
using Bytes = std::vector<std::byte>;

enum class Role { kInput, kConstant, kInternal, kOutput };

struct Tensor {
  std::string name;
  Role role = Role::kInternal;
  DT dtype = DT::kUndefined;
  Dims dims;  // row major
  qnn::Encoding encoding;
  /// What the tensor would hold without rounding to its type. Of quantised constants: the stored integers.
  std::vector<double> exact;
  /// The stored elements: given data, or the reference's own result rounded to the type.
  Bytes bytes;

  size_t size() const { return exact.size(); }
  qnn::TensorDesc desc() const;
};

size_t element_count(const Dims& dims);

/// U8, S8, U16 or S16: integers that stand for reals by scale and offset.
bool is_quantized(DT dtype);
bool is_float(DT dtype);

struct Limits {
  double low, high;
};
/// The smallest and the largest stored integer of a quantised type.
Limits limits(DT dtype);

/// Element `i` as it is stored: an integer, or the value of a float.
double stored(DT dtype, std::span<const std::byte> bytes, size_t i);
/// Element `i` of a tensor without per-axis scales as a real number.
double real(const Tensor& tensor, std::span<const std::byte> bytes, size_t i);

/// Elements of `dtype` for `values`: quantised types round half to even and saturate, float types round to nearest.
Bytes encode(DT dtype, const qnn::Encoding& encoding, std::span<const double> values);

/// How a quantised type covers reals. Both forms are what converters choose (lib/calibrate/ranges.ts).
enum class Fit {
  kNone,       // a float type
  kMinMax,     // smallest to largest value, zero held exactly; the signed type is the unsigned one shifted by 128
  kSymmetric,  // zero in the middle
};

/// The encoding of `dtype` for data like `values`, with `clipped` of them at each end out of range.
qnn::Encoding calibrate(DT dtype, Fit fit, std::span<const double> values, double clipped);

/// Normal numbers of a given mean and deviation, the same ones for the same generator.
std::vector<double> normal(std::mt19937& random, size_t count, double mean = 0, double deviation = 1);

/// "u8", "f16": the names that printed plans use.
std::string short_name(DT dtype);

}  // namespace lutra::conformance
