// NEON shadow linear: whole groups of 4 or 16 in registers, what is left element by element.
#include "kernels/shadow/shadow_internal.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#define LUTRA_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

LUTRA_INLINE float32x4_t steps_of(float32x4_t x, const ClipRange& range) { return vrndnq_f32(vdivq_f32(x, vdupq_n_f32(range.scale))); }
LUTRA_INLINE uint32x4_t clipped_lanes(float32x4_t x, const ClipRange& range) {
  return vorrq_u32(vcgtq_f32(x, vdupq_n_f32(range.most)), vcltq_f32(x, vdupq_n_f32(range.least)));
}
/// Up to 4 elements from p, the rest 0.
LUTRA_INLINE float32x4_t load_some(const float* p, uint32_t count) {
  if (count == 4) return vld1q_f32(p);
  float some[4] = {};
  std::memcpy(some, p, count * sizeof(float));
  return vld1q_f32(some);
}
/// 16 weights as floats.
LUTRA_INLINE void load_weights(const int8_t* p, float32x4_t (&to)[4]) {
  const int8x16_t bytes = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
  to[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
  to[1] = vcvtq_f32_s32(vmovl_high_s16(low));
  to[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
  to[3] = vcvtq_f32_s32(vmovl_high_s16(high));
}
/// Four of yq as integers.
LUTRA_INLINE int32x4_t load_codes(const uint8_t* p, bool is_signed) {
  uint32_t word;
  std::memcpy(&word, p, sizeof word);
  const uint8x8_t bytes = vreinterpret_u8_u32(vdup_n_u32(word));
  if (is_signed) return vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(bytes))));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
}

struct Neon {
  static uint32_t collect(const float* x, uint32_t in, const ClipRange& range, float* list) noexcept {
    uint32_t count = 0;
    for (uint32_t k = 0; k < in; k += 4) {
      const uint32_t left = in - k < 4 ? in - k : 4;
      const uint32x4_t hit = clipped_lanes(load_some(x + k, left), range);
      if (vmaxvq_u32(hit) == 0) continue;
      uint32_t lanes[4];
      vst1q_u32(lanes, hit);
      for (uint32_t i = 0; i < left; ++i) {
        if (lanes[i] != 0) put_index(list, count++, k + i);
      }
    }
    return count;
  }

  /// Four rows of W in one pass over the sums.
  static void add_four(const ShadowWeight& w, const int8_t* const (&rows)[4], const float (&residuals)[4], float* sums) noexcept {
    uint32_t o = 0;
    for (; o + 16 <= w.out; o += 16) {
      float32x4_t sum[4] = {vld1q_f32(sums + o), vld1q_f32(sums + o + 4), vld1q_f32(sums + o + 8), vld1q_f32(sums + o + 12)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        float32x4_t weights[4];
        load_weights(rows[i] + o, weights);
#pragma GCC unroll 4
        for (int c = 0; c < 4; ++c) sum[c] = vfmaq_n_f32(sum[c], weights[c], residuals[i]);
      }
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) vst1q_f32(sums + o + 4 * c, sum[c]);
    }
    for (; o < w.out; ++o) {
      for (int i = 0; i < 4; ++i) sums[o] += residuals[i] * static_cast<float>(rows[i][o]);
    }
  }

  static void add_rows(const ShadowWeight& w, const float* x, const ClipRange& range, const float* list, uint32_t count, float* sums) noexcept {
    add_rows_by_four(w, x, range, list, count, sums, add_four);
  }

  static void effective(const float* x, uint32_t in, const ClipRange& range, float* out) noexcept {
    for (uint32_t k = 0; k < in; k += 4) {
      const uint32_t left = in - k < 4 ? in - k : 4;
      const float32x4_t value = load_some(x + k, left), steps = steps_of(value, range);
      const uint32x4_t number = vceqq_f32(value, value);
      const float32x4_t dequantised = vreinterpretq_f32_u32(vandq_u32(number, vreinterpretq_u32_f32(vmulq_n_f32(steps, range.scale))));
      float lanes[4];
      vst1q_f32(lanes, vbslq_f32(clipped_lanes(value, range), value, dequantised));
      std::memcpy(out + k, lanes, left * sizeof(float));
    }
  }

  static void whole(const ShadowWeight& w, const float* values, uint32_t first, float* lanes) noexcept {
    if (w.out - first < kShadowLanes) return whole_of_last(w, values, first, lanes);
    const int8_t* column = w.w + first;
    float32x4_t sum[4] = {vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)};
    for (uint32_t k = 0; k < w.in; ++k) {
      float32x4_t weights[4];
      load_weights(column + static_cast<size_t>(k) * w.out, weights);
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[c] = vfmaq_n_f32(sum[c], weights[c], values[k]);
    }
    for (int c = 0; c < 4; ++c) vst1q_f32(lanes + 4 * c, sum[c]);
  }

  static void combine(const ShadowWeight& w, const float* sums, const float* base, const uint8_t* yq, const Encoding& e, float* y) noexcept {
    uint32_t o = 0;
    for (; o + 4 <= w.out; o += 4) {
      float32x4_t value = vmulq_f32(vld1q_f32(sums + o), vld1q_f32(w.scale + o));
      if (yq != nullptr) {
        const int32x4_t q = load_codes(yq + o, e.lo < 0);
        const uint32x4_t full = vorrq_u32(vceqq_s32(q, vdupq_n_s32(e.lo)), vceqq_s32(q, vdupq_n_s32(e.hi)));
        const float32x4_t dequantised = vmulq_n_f32(vcvtq_f32_s32(vaddq_s32(q, vdupq_n_s32(e.offset))), e.scale);
        value = vaddq_f32(value, vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(dequantised), full)));
      }
      if (base != nullptr) value = vaddq_f32(vld1q_f32(base + o), value);
      vst1q_f32(y + o, value);
    }
    for (; o < w.out; ++o) y[o] = combine_one(w, sums, base, yq, e, o);
  }
};

}  // namespace

const ShadowKernel kNeonShadow = {"neon", Isa::kNeon, shadow_row<Neon>};

}  // namespace lutra::kernels
#endif
