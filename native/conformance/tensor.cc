#include "conformance/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "base/f16.h"

namespace lutra::conformance {
namespace {

template <class T>
T load(std::span<const std::byte> bytes, size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

template <class T>
void save(Bytes& bytes, size_t i, T value) {
  std::memcpy(bytes.data() + i * sizeof(T), &value, sizeof(T));
}

void save_as(DT dtype, Bytes& bytes, size_t i, double value) {
  switch (dtype) {
    case DT::kUfixed8: return save(bytes, i, static_cast<uint8_t>(value));
    case DT::kSfixed8: return save(bytes, i, static_cast<int8_t>(value));
    case DT::kUfixed16: return save(bytes, i, static_cast<uint16_t>(value));
    case DT::kSfixed16: return save(bytes, i, static_cast<int16_t>(value));
    case DT::kBool8:
    case DT::kUint8: return save(bytes, i, static_cast<uint8_t>(value));
    case DT::kUint32: return save(bytes, i, static_cast<uint32_t>(value));
    case DT::kInt32:
    case DT::kSfixed32: return save(bytes, i, static_cast<int32_t>(value));
    case DT::kFloat32: return save(bytes, i, static_cast<float>(value));
    case DT::kFloat16: return save(bytes, i, f32_to_f16(static_cast<float>(value)));
    default: throw std::logic_error("no conformance case has tensors of type " + qnn::dtype_name(dtype));
  }
}

}  // namespace

qnn::TensorDesc Tensor::desc() const {
  const std::span<const std::byte> data = role == Role::kConstant ? std::span<const std::byte>(bytes) : std::span<const std::byte>();
  return {.name = name, .dtype = dtype, .dims = dims, .encoding = encoding, .data = data};
}

size_t element_count(const Dims& dims) {
  size_t count = 1;
  for (const uint32_t dim : dims) count *= dim;
  return count;
}

bool is_quantized(DT dtype) { return dtype == DT::kUfixed8 || dtype == DT::kSfixed8 || dtype == DT::kUfixed16 || dtype == DT::kSfixed16; }
bool is_float(DT dtype) { return dtype == DT::kFloat16 || dtype == DT::kFloat32; }

Limits limits(DT dtype) {
  switch (dtype) {
    case DT::kUfixed8: return {0, 255};
    case DT::kSfixed8: return {-128, 127};
    case DT::kUfixed16: return {0, 65535};
    case DT::kSfixed16: return {-32768, 32767};
    default: throw std::logic_error(qnn::dtype_name(dtype) + " is not a quantised type");
  }
}

double stored(DT dtype, std::span<const std::byte> bytes, size_t i) {
  switch (dtype) {
    case DT::kUfixed8: return load<uint8_t>(bytes, i);
    case DT::kSfixed8: return load<int8_t>(bytes, i);
    case DT::kUfixed16: return load<uint16_t>(bytes, i);
    case DT::kSfixed16: return load<int16_t>(bytes, i);
    case DT::kBool8:
    case DT::kUint8: return load<uint8_t>(bytes, i);
    case DT::kUint32: return load<uint32_t>(bytes, i);
    case DT::kInt32:
    case DT::kSfixed32: return load<int32_t>(bytes, i);
    case DT::kFloat32: return load<float>(bytes, i);
    case DT::kFloat16: return f16_to_f32(load<uint16_t>(bytes, i));
    default: throw std::logic_error("no conformance case has tensors of type " + qnn::dtype_name(dtype));
  }
}

double real(const Tensor& tensor, std::span<const std::byte> bytes, size_t i) {
  const double value = stored(tensor.dtype, bytes, i);
  return is_quantized(tensor.dtype) ? (value + tensor.encoding.offset) * double{tensor.encoding.scale} : value;
}

Bytes encode(DT dtype, const qnn::Encoding& encoding, std::span<const double> values) {
  Bytes bytes(values.size() * qnn::element_size(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    double value = values[i];
    if (is_quantized(dtype)) {
      const Limits range = limits(dtype);
      value = std::clamp(std::nearbyint(value / double{encoding.scale}) - encoding.offset, range.low, range.high);
    }
    save_as(dtype, bytes, i, value);
  }
  return bytes;
}

qnn::Encoding calibrate(DT dtype, Fit fit, std::span<const double> values, double clipped) {
  if (!is_quantized(dtype)) return qnn::Encoding::none();
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t cut = static_cast<size_t>(clipped * static_cast<double>(sorted.size()));
  const double low = std::min(sorted[cut], 0.0), high = std::max(sorted[sorted.size() - 1 - cut], 0.0);
  const Limits range = limits(dtype);
  const double steps = range.high - range.low;
  if (fit == Fit::kSymmetric) {
    const double scale = 2 * std::max(-low, high) / (steps - 1);
    return qnn::Encoding::scale_offset(static_cast<float>(scale), range.low == 0 ? -static_cast<int32_t>((steps + 1) / 2) : 0);
  }
  const double scale = (high - low) / steps;
  return qnn::Encoding::scale_offset(static_cast<float>(scale), static_cast<int32_t>(std::nearbyint(low / scale) - range.low));
}

std::vector<double> normal(std::mt19937& random, size_t count, double mean, double deviation) {
  std::normal_distribution<double> distribution(mean, deviation);
  std::vector<double> values(count);
  for (double& value : values) value = distribution(random);
  return values;
}

std::string short_name(DT dtype) {
  switch (dtype) {
    case DT::kUfixed8: return "u8";
    case DT::kSfixed8: return "s8";
    case DT::kUfixed16: return "u16";
    case DT::kSfixed16: return "s16";
    case DT::kBool8: return "bool";
    case DT::kUint8: return "plain_u8";
    case DT::kInt32:
    case DT::kSfixed32: return "s32";
    case DT::kUint32: return "u32";
    case DT::kFloat16: return "f16";
    case DT::kFloat32: return "f32";
    default: return qnn::dtype_name(dtype);
  }
}

}  // namespace lutra::conformance
