// The reference tier, element by element, and the registry.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/f16.h"
#include "kernels/npu_ops/npu_ops_kernels.h"
#include "kernels/tiers.h"

namespace lutra::kernels {
namespace {

float load(const ConstElements& x, size_t i) {
  int32_t code = 0;
  switch (x.type) {
    case Element::kF32: {
      float value;
      std::memcpy(&value, x.data + i * 4, 4);
      return value;
    }
    case Element::kF16: {
      uint16_t half;
      std::memcpy(&half, x.data + i * 2, 2);
      return f16_to_f32(half);
    }
    case Element::kU8: code = static_cast<uint8_t>(x.data[i]); break;
    case Element::kS8: code = static_cast<int8_t>(x.data[i]); break;
    case Element::kU16: {
      uint16_t wide;
      std::memcpy(&wide, x.data + i * 2, 2);
      code = wide;
      break;
    }
    case Element::kS16: {
      int16_t wide;
      std::memcpy(&wide, x.data + i * 2, 2);
      code = wide;
      break;
    }
  }
  return static_cast<float>(code + x.affine.offset) * x.affine.scale;
}

void store(const Elements& y, size_t i, float value) {
  if (y.type == Element::kF32) {
    std::memcpy(y.data + i * 4, &value, 4);
    return;
  }
  if (y.type == Element::kF16) {
    const uint16_t half = f32_to_f16(value);
    std::memcpy(y.data + i * 2, &half, 2);
    return;
  }
  float steps = value / y.affine.scale;
  if (std::isnan(steps)) steps = 0.0f;
  const auto lo = static_cast<float>(lowest_code(y.type) + y.affine.offset), hi = static_cast<float>(highest_code(y.type) + y.affine.offset);
  const int32_t code = static_cast<int32_t>(std::nearbyint(std::clamp(steps, lo, hi))) - y.affine.offset;
  if (is_16_bit(y.type)) {
    const auto wide = static_cast<uint16_t>(code);
    std::memcpy(y.data + i * 2, &wide, 2);
  } else {
    y.data[i] = static_cast<std::byte>(code);
  }
}

void convert(const ConstElements& x, const Elements& y, size_t count) {
  for (size_t i = 0; i < count; ++i) store(y, i, load(x, i));
}

void unary(UnaryOp op, const ConstElements& x, const Elements& y, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const float value = load(x, i);
    store(y, i, op == UnaryOp::kSigmoid ? 1.0f / (1.0f + std::exp(-value)) : value < 0.0f ? 0.0f : value);
  }
}

void binary(BinaryOp op, const ConstElements& a, const ConstElements& b, const Elements& y, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const float left = load(a, i), right = load(b, i);
    store(y, i, op == BinaryOp::kAdd ? left + right : left * right);
  }
}

void rms_norm(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  double squares = 0;
  for (uint32_t i = 0; i < columns; ++i) {
    const double value = load(x, i);
    squares += value * value;
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares / columns + epsilon));
  for (uint32_t i = 0; i < columns; ++i) {
    const float normed = load(x, i) * scale * gain[i];
    store(y, i, bias == nullptr ? normed : normed + bias[i]);
  }
}

void layer_norm(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns) {
  double sum = 0, squares = 0;
  for (uint32_t i = 0; i < columns; ++i) sum += load(x, i);
  const auto mean = static_cast<float>(sum / columns);
  for (uint32_t i = 0; i < columns; ++i) {
    const double value = load(x, i) - mean;
    squares += value * value;
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares / columns + epsilon));
  for (uint32_t i = 0; i < columns; ++i) {
    const float normed = (load(x, i) - mean) * scale * (gain == nullptr ? 1.0f : gain[i]);
    store(y, i, bias == nullptr ? normed : normed + bias[i]);
  }
}

void softmax(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns) {
  float top = -INFINITY;
  for (uint32_t i = 0; i < columns; ++i) top = std::max(top, beta * load(x, i));
  double sum = 0;
  for (uint32_t i = 0; i < columns; ++i) sum += std::exp(beta * load(x, i) - top);
  const auto log_sum = static_cast<float>(std::log(sum)), share = static_cast<float>(1.0 / sum);
  for (uint32_t i = 0; i < columns; ++i) {
    const float below = beta * load(x, i) - top;
    store(y, i, logarithm ? below - log_sum : std::exp(below) * share);
  }
}

constexpr NpuOpKernels kPortable = {"portable", Isa::kPortable, convert, unary, binary, rms_norm, layer_norm, softmax};

}  // namespace

std::span<const NpuOpKernels> npu_op_kernels() noexcept {
#if defined(LUTRA_X86)
  static const std::array kernels = {kPortable, kNpuOpsAvx2, kNpuOpsAvx512};
#elif defined(LUTRA_ARM64)
  static const std::array kernels = {kPortable, kNpuOpsNeon};
#else
  static const std::array kernels = {kPortable};
#endif
  return kernels;
}

const NpuOpKernels& npu_op_kernel(Isa isa) noexcept { return variant_of(npu_op_kernels(), isa); }

}  // namespace lutra::kernels
