// The obvious forms, in double where it matters. The reference of the vector tiers.
#include <cmath>

#include "base/f16.h"
#include "kernels/ops/ops_internal.h"

namespace lutra::kernels {
namespace {

void rms_norm(const float* x, const float* gain, float eps, uint32_t n, uint32_t cols, float* y) {
  for (uint32_t r = 0; r < n; ++r, x += cols, y += cols) {
    double sum = 0;
    for (uint32_t i = 0; i < cols; ++i) sum += static_cast<double>(x[i]) * x[i];
    const float scale = static_cast<float>(1.0 / std::sqrt(sum / cols + eps));
    for (uint32_t i = 0; i < cols; ++i) y[i] = x[i] * scale * gain[i];
  }
}

void rope(const float* x, const float* cos_sin, uint32_t n, uint32_t heads, uint32_t head_dim, bool interleaved, float* y) {
  const uint32_t half = head_dim / 2;
  for (uint32_t r = 0; r < n; ++r, cos_sin += head_dim) {
    const size_t row = static_cast<size_t>(r) * heads * head_dim;
    if (interleaved) {
      rope_interleaved(x + row, cos_sin, heads, head_dim, y + row);
      continue;
    }
    for (uint32_t h = 0; h < heads; ++h) {
      for (uint32_t i = 0; i < half; ++i) {
        const size_t at = row + static_cast<size_t>(h) * head_dim + i;
        const float a = x[at], b = x[at + half], c = cos_sin[i], s = cos_sin[half + i];
        y[at] = a * c - b * s;
        y[at + half] = a * s + b * c;
      }
    }
  }
}

void silu_mul(const float* gate, const float* up, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) {
    const double g = gate[i];
    y[i] = static_cast<float>(g / (1.0 + std::exp(-g))) * up[i];
  }
}

void relu_mul(const float* gate, const float* up, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = (gate[i] < 0 ? 0 : gate[i]) * up[i];  // NaN stays
}

void add(const float* a, const float* b, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

void to_f16(const float* x, size_t count, uint16_t* y) {
  for (size_t i = 0; i < count; ++i) y[i] = f32_to_f16(x[i]);
}

void to_f32(const uint16_t* x, size_t count, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = f16_to_f32(x[i]);
}

// Element i of a position.
float value(const uint16_t* x, const float*, size_t i, uint32_t) noexcept { return f16_to_f32(x[i]); }
float value(const float* x, const float*, size_t i, uint32_t) noexcept { return x[i]; }
float value(const int8_t* x, const float* scales, size_t i, uint32_t position) noexcept { return static_cast<float>(x[i]) * scales[position]; }

template <class T>
void attend_head(const float* q, const CachedHead<T>& head, uint32_t head_dim, uint32_t length, float scale, float* scratch, float* y) {
  float largest = -INFINITY;
  for (uint32_t p = 0; p < length; ++p) {
    double dot = 0;
    for (uint32_t i = 0; i < head_dim; ++i) dot += static_cast<double>(q[i]) * value(head.k, head.k_scales, p * head.stride + i, p);
    scratch[p] = static_cast<float>(dot) * scale;
    largest = std::max(largest, scratch[p]);
  }
  double sum = 0;
  for (uint32_t p = 0; p < length; ++p) {
    scratch[p] = static_cast<float>(std::exp(static_cast<double>(scratch[p]) - largest));
    sum += scratch[p];
  }
  for (uint32_t i = 0; i < head_dim; ++i) {
    double total = 0;
    for (uint32_t p = 0; p < length; ++p) total += static_cast<double>(scratch[p]) * value(head.v, head.v_scales, p * head.stride + i, p);
    y[i] = static_cast<float>(total / sum);
  }
}

template <class T>
void attend(const float* q, const CachedHead<T>& head, uint32_t head_dim, uint32_t group, uint32_t length, float scale, float* scratch, float* y) {
  for (uint32_t g = 0; g < group; ++g) {
    const size_t at = static_cast<size_t>(g) * head_dim;
    attend_head(q + at, head, head_dim, length, scale, scratch, y + at);
  }
}

template <class T>
void attend_block(const float* q, size_t q_stride, const CachedHead<T>& head, uint32_t head_dim, uint32_t group, uint32_t rows, uint32_t first_length, float scale, float* scratch, float* y,
                  size_t y_stride) {
  for (uint32_t r = 0; r < rows; ++r) attend(q + r * q_stride, head, head_dim, group, first_length + r, scale, scratch, y + r * y_stride);
}

void quantize_u8(const float* x, size_t count, const Encoding& e, uint8_t* y) {
  for (size_t i = 0; i < count; ++i) y[i] = static_cast<uint8_t>(quantize_one(x[i], e));
}

void quantize_u16(const float* x, size_t count, const Encoding& e, uint16_t* y) {
  for (size_t i = 0; i < count; ++i) y[i] = static_cast<uint16_t>(quantize_one(x[i], e));
}

void dequantize_8(const uint8_t* q, size_t count, const Encoding& e, float* y) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t code = e.lo < 0 ? static_cast<int8_t>(q[i]) : q[i];
    y[i] = static_cast<float>(code + e.offset) * e.scale;
  }
}

void dequantize_16(const uint16_t* q, size_t count, const Encoding& e, float* y) {
  for (size_t i = 0; i < count; ++i) y[i] = static_cast<float>(q[i] + e.offset) * e.scale;
}

void quantize_rows(const float* x, uint32_t n, uint32_t cols, int8_t* y, float* scales) {
  for (uint32_t r = 0; r < n; ++r, x += cols, y += cols) {
    float largest = 0;
    for (uint32_t i = 0; i < cols; ++i) largest = std::max(largest, std::abs(x[i]));  // keeps `largest` beside a NaN
    scales[r] = largest / 127.0f;
    for (uint32_t i = 0; i < cols; ++i) y[i] = static_cast<int8_t>(quantize_one(x[i], {scales[r], 0, -127, 127}));
  }
}

}  // namespace

const OpKernels& portable_ops() noexcept {
  static const OpKernels kernels{"portable", Isa::kPortable, rms_norm, rope, silu_mul, relu_mul, add, to_f16, to_f32, attend<uint16_t>, attend<float>,
                                 attend<int8_t>, attend_block<uint16_t>, attend_block<int8_t>, quantize_u8, quantize_u16, dequantize_8, dequantize_16, quantize_rows};
  return kernels;
}

}  // namespace lutra::kernels
