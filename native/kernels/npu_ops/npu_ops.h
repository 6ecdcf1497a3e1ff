// Element-wise and row-wise operations of the host NPU on tensors of every element type.
//
// Every operation loads to F32, computes in F32 and stores once:
//   load   U8, S8, U16, S16: f32(q + offset) · scale; F16 exactly; F32 as it is
//   store  U8, S8, U16, S16: clamp(rint(v / scale) − offset), half to even, NaN becomes −offset (the code of zero); F16: round half to even
// Add, multiply, relu and conversions give identical bits on every tier; sigmoid, softmax and the norms differ by float rounding.
// Nothing here allocates, threads or throws; x and y may be the same memory when their elements have the same size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"
#include "kernels/npu_ops/element.h"

namespace lutra::kernels {

/// Encoding of a quantised tensor, QNN's convention: real = (q + offset) · scale, scale > 0. Ignored for F32 and F16.
struct Affine {
  float scale = 1.0f;
  int32_t offset = 0;
};

/// One tensor, or a run of its elements.
struct ConstElements {
  Element type = Element::kF32;
  Affine affine;
  const std::byte* data = nullptr;
};
struct Elements {
  Element type = Element::kF32;
  Affine affine;
  std::byte* data = nullptr;
};

enum class UnaryOp : uint8_t { kSigmoid, kRelu };
enum class BinaryOp : uint8_t { kAdd, kMultiply };

struct NpuOpKernels {
  const char* name;  // isa_name(isa)
  Isa isa;
  /// Between any two types: Quantize, Dequantize, Convert.
  void (*convert)(const ConstElements& x, const Elements& y, size_t count);
  /// y.type == x.type.
  void (*unary)(UnaryOp op, const ConstElements& x, const Elements& y, size_t count);
  /// a, b and y have one type (encodings may differ).
  void (*binary)(BinaryOp op, const ConstElements& a, const ConstElements& b, const Elements& y, size_t count);
  /// One row: y[i] = x[i] / sqrt(mean(x²) + epsilon) · gain[i] (+ bias[i], unless NULL). y.type == x.type.
  void (*rms_norm)(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns);
  /// One row: y[i] = (x[i] − mean) / sqrt(variance + epsilon) · gain[i] + bias[i]; gain and bias may be NULL (1 and 0). y.type == x.type.
  void (*layer_norm)(const ConstElements& x, const float* gain, const float* bias, float epsilon, const Elements& y, uint32_t columns);
  /// One row: y[i] = e^(beta · x[i]) / Σ e^(beta · x), or its logarithm. y.type == x.type, or F32.
  void (*softmax)(const ConstElements& x, float beta, bool logarithm, const Elements& y, uint32_t columns);
};

/// All tiers of this build, portable reference first. Tests iterate this.
std::span<const NpuOpKernels> npu_op_kernels() noexcept;
const NpuOpKernels& npu_op_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
