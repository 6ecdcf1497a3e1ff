#include "kernels/npu_ops/npu_ops_kernels.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cmath>
#include <cstring>

#define LUTRA_VECTOR
#define LUTRA_VECTOR_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

struct Vector {
  static constexpr size_t kLanes = 4;
  using Value = float32x4_t;

  /// An encoding, spread over the lanes.
  struct Coding {
    LUTRA_VECTOR_INLINE Coding(Affine affine, Element type)
        : scale(vdupq_n_f32(affine.scale)),
          lo(vdupq_n_f32(static_cast<float>(lowest_code(type) + affine.offset))),
          hi(vdupq_n_f32(static_cast<float>(highest_code(type) + affine.offset))),
          offset(vdupq_n_s32(affine.offset)) {}
    float32x4_t scale, lo, hi;
    int32x4_t offset;
  };

  template <Element T>
  LUTRA_VECTOR_INLINE static Value load(const std::byte* p, const Coding& code) {
    if constexpr (T == Element::kF32) return vld1q_f32(reinterpret_cast<const float*>(p));
    if constexpr (T == Element::kF16) return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p))));
    if constexpr (T == Element::kU8) return real(vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(four_bytes(p)))))), code);
    if constexpr (T == Element::kS8) return real(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(four_bytes(p))))), code);
    if constexpr (T == Element::kU16) return real(vreinterpretq_s32_u32(vmovl_u16(vld1_u16(reinterpret_cast<const uint16_t*>(p)))), code);
    if constexpr (T == Element::kS16) return real(vmovl_s16(vld1_s16(reinterpret_cast<const int16_t*>(p))), code);
  }
  template <Element T>
  LUTRA_VECTOR_INLINE static void store(std::byte* p, Value v, const Coding& code) {
    if constexpr (T == Element::kF32) vst1q_f32(reinterpret_cast<float*>(p), v);
    if constexpr (T == Element::kF16) vst1_u16(reinterpret_cast<uint16_t*>(p), vreinterpret_u16_f16(vcvt_f16_f32(v)));
    if constexpr (T == Element::kU16 || T == Element::kS16) vst1_s16(reinterpret_cast<int16_t*>(p), vmovn_s32(quantise(v, code)));
    if constexpr (T == Element::kU8 || T == Element::kS8) {
      const int16x4_t words = vmovn_s32(quantise(v, code));
      const uint32_t bytes = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
      std::memcpy(p, &bytes, 4);
    }
  }
  LUTRA_VECTOR_INLINE static uint32x2_t four_bytes(const std::byte* p) {
    uint32_t bytes;
    std::memcpy(&bytes, p, 4);
    return vdup_n_u32(bytes);
  }
  LUTRA_VECTOR_INLINE static Value real(int32x4_t codes, const Coding& code) { return vmulq_f32(vcvtq_f32_s32(vaddq_s32(codes, code.offset)), code.scale); }
  LUTRA_VECTOR_INLINE static int32x4_t quantise(Value v, const Coding& code) {
    const float32x4_t steps = vdivq_f32(v, code.scale);
    const float32x4_t number = vreinterpretq_f32_u32(vandq_u32(vceqq_f32(steps, steps), vreinterpretq_u32_f32(steps)));
    return vsubq_s32(vcvtnq_s32_f32(vminq_f32(vmaxq_f32(number, code.lo), code.hi)), code.offset);
  }

  LUTRA_VECTOR_INLINE static Value load_floats(const float* p) { return vld1q_f32(p); }
  LUTRA_VECTOR_INLINE static Value set(float v) { return vdupq_n_f32(v); }
  LUTRA_VECTOR_INLINE static Value add(Value a, Value b) { return vaddq_f32(a, b); }
  LUTRA_VECTOR_INLINE static Value sub(Value a, Value b) { return vsubq_f32(a, b); }
  LUTRA_VECTOR_INLINE static Value mul(Value a, Value b) { return vmulq_f32(a, b); }
  LUTRA_VECTOR_INLINE static Value div(Value a, Value b) { return vdivq_f32(a, b); }
  LUTRA_VECTOR_INLINE static Value min(Value a, Value b) { return vbslq_f32(vcltq_f32(a, b), a, b); }  // b when one is NaN
  LUTRA_VECTOR_INLINE static Value max(Value a, Value b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  LUTRA_VECTOR_INLINE static Value fmadd(Value a, Value b, Value c) { return vfmaq_f32(c, a, b); }
  LUTRA_VECTOR_INLINE static Value fnmadd(Value a, Value b, Value c) { return vfmsq_f32(c, a, b); }
  LUTRA_VECTOR_INLINE static Value round(Value a) { return vrndnq_f32(a); }
  /// a · 2^n for |n| ≤ 126, by the exponent bits of 2^n.
  LUTRA_VECTOR_INLINE static Value scale_by_power(Value a, Value n) {
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23)));
  }
};

#include "kernels/npu_ops/npu_ops_vector.h"
#include "kernels/npu_ops/npu_ops_rows_vector.h"

}  // namespace

const NpuOpKernels kNpuOpsNeon = {"neon", Isa::kNeon, convert, unary, binary, rms_norm, layer_norm, softmax};

}  // namespace lutra::kernels
#endif
