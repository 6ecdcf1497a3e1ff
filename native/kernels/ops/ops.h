// Row-wise CPU steps between the linears. F32 in and out unless said; `n` rows; no allocation, no threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"

namespace lutra::kernels {

/// How one activation tensor is quantised: q = clamp(rint(x / scale) − offset, lo, hi); real = (q + offset) · scale (QNN's sign convention).
struct Encoding {
  float scale = 1.0f;
  int32_t offset = 0;
  int32_t lo = 0;  // 0 or −128
  int32_t hi = 255;  // 255, 127 or 65535
};

/// Cached keys and values of one head: element i of position p is at p·stride + i. 8-bit ones (T = int8_t) are real = code · scale, with a scale a position.
template <class T>
struct CachedHead {
  const T* k;
  const T* v;
  size_t stride;
  const float* k_scales = nullptr;  // read with T = int8_t only
  const float* v_scales = nullptr;
};

struct OpKernels {
  const char* name;
  Isa isa;
  /// y[r,i] = x[r,i] / sqrt(mean(x[r]²) + eps) · gain[i]; the mean is accumulated in double or in ≥ 16 partial floats.
  void (*rms_norm)(const float* x, const float* gain, float eps, uint32_t n, uint32_t cols, float* y);
  /// Rotary embedding of rows at positions[r], heads of head_dim, in place allowed. `cos_sin` holds, per row r, head_dim/2 cosines then head_dim/2 sines
  /// (rows `head_dim` floats apart). interleaved: pairs (2i, 2i+1); otherwise (i, i + head_dim/2).
  void (*rope)(const float* x, const float* cos_sin, uint32_t n, uint32_t heads, uint32_t head_dim, bool interleaved, float* y);
  /// y = silu(gate) · up over `count` elements.
  void (*silu_mul)(const float* gate, const float* up, size_t count, float* y);
  /// y = max(gate, 0) · up over `count` elements.
  void (*relu_mul)(const float* gate, const float* up, size_t count, float* y);
  void (*add)(const float* a, const float* b, size_t count, float* y);
  void (*f32_to_f16)(const float* x, size_t count, uint16_t* y);
  void (*f16_to_f32)(const uint16_t* x, size_t count, float* y);
  /// One query row of the `group` heads that share one KV head, against positions [0, length): causal by construction. `uint16_t` holds an F16.
  /// q and y: element i of head g is at g·head_dim + i. scratch: attend_scratch(...) floats.
  void (*attend_f16)(const float* q, const CachedHead<uint16_t>& head, uint32_t head_dim, uint32_t group, uint32_t length, float scale, float* scratch, float* y);
  void (*attend_f32)(const float* q, const CachedHead<float>& head, uint32_t head_dim, uint32_t group, uint32_t length, float scale, float* scratch, float* y);
  void (*attend_i8)(const float* q, const CachedHead<int8_t>& head, uint32_t head_dim, uint32_t group, uint32_t length, float scale, float* scratch, float* y);
  /// A block of `rows` consecutive query rows (rows ≤ 32; row r sees positions [0, first_length + r)) of `group` query heads that share one KV head: prefill.
  /// q and y: element (row r, head g) at r·stride + g·head_dim. scratch: attend_block_scratch(...) floats. Same results as attend_* to rounding.
  void (*attend_block_f16)(const float* q, size_t q_stride, const CachedHead<uint16_t>& head, uint32_t head_dim, uint32_t group, uint32_t rows, uint32_t first_length, float scale,
                           float* scratch, float* y, size_t y_stride);
  void (*attend_block_i8)(const float* q, size_t q_stride, const CachedHead<int8_t>& head, uint32_t head_dim, uint32_t group, uint32_t rows, uint32_t first_length, float scale,
                          float* scratch, float* y, size_t y_stride);
  /// Quantise F32 or F16 rows to 8 or 16 bits; ties to even; NaN becomes the zero point.
  void (*quantize_u8)(const float* x, size_t count, const Encoding& e, uint8_t* y);   // also S8 when lo < 0 (two's complement bytes)
  void (*quantize_u16)(const float* x, size_t count, const Encoding& e, uint16_t* y);
  void (*dequantize_8)(const uint8_t* q, size_t count, const Encoding& e, float* y);  // signed when lo < 0
  void (*dequantize_16)(const uint16_t* q, size_t count, const Encoding& e, float* y);
  /// `n` rows of `cols` elements to 8 bits, each by its own scale max |x| / 127 (0 for a row of zeros): y = rint(x / scale), ties to even; NaN becomes 0.
  void (*quantize_rows)(const float* x, uint32_t n, uint32_t cols, int8_t* y, float* scales);
};

/// Floats of scratch for attend_f16, attend_f32 and attend_i8.
size_t attend_scratch(uint32_t group, uint32_t length) noexcept;
/// Floats of scratch for attend_block_*.
size_t attend_block_scratch(uint32_t head_dim, uint32_t group, uint32_t rows, uint32_t max_length) noexcept;

std::span<const OpKernels> op_kernels() noexcept;  // portable reference first
const OpKernels& op_kernel(Isa isa) noexcept;

}  // namespace lutra::kernels
