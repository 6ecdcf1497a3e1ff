// What the ARM tiers of low-bit weights share and what needs no more than NEON: preparing, places of table look-ups, the end of a part.
#pragma once

#include "kernels/lowbit/lowbit_parts.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

namespace lutra::kernels {

/// LowBitKernel::prepare of one row, as the references do it.
void build_tables_neon(const float* x, uint32_t cols, std::byte* out);
void quantize_neon(const float* x, uint32_t cols, std::byte* out);

/// High nibbles of the four indices of a word: which of the tables each byte of a pass wants.
constexpr uint32_t pass_selects(uint8_t bits, uint32_t pass) noexcept {
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; ++i) word |= (pass_quad(bits, pass, i) - pass_quad(bits, pass, 0)) << (8 * i + 4);
  return word;
}

inline uint8x16_t repeat_word(uint32_t word) noexcept { return vreinterpretq_u8_u32(vdupq_n_u32(word)); }

inline void load_outputs(const float* y, float32x4_t (&out)[4]) noexcept {
#pragma GCC unroll 4
  for (uint32_t q = 0; q < 4; ++q) out[q] = vld1q_f32(y + 4 * q);
}

inline void store_outputs(const float32x4_t (&out)[4], float* y) noexcept {
#pragma GCC unroll 4
  for (uint32_t q = 0; q < 4; ++q) vst1q_f32(y + 4 * q, out[q]);
}

/// Four of the 16 numbers behind a group.
inline float32x4_t load_numbers(const LowBitFormat& format, const std::byte* numbers, uint32_t quarter) noexcept {
  if (format.group == 0) return vld1q_f32(reinterpret_cast<const float*>(numbers + 16 * quarter));
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(numbers + 8 * quarter))));
}

/// y += what a group adds, for one row of x.
inline void finish(const LowBitFormat& format, const GroupTerms& terms, const std::byte* numbers, const float32x4_t (&total)[4], float x, float32x4_t (&y)[4]) noexcept {
#pragma GCC unroll 4
  for (uint32_t q = 0; q < 4; ++q) {
    const float32x4_t d = load_numbers(format, numbers, q);
    float32x4_t c = vdupq_n_f32(terms.c), result = y[q];
    if (format.offset != Offset::kNone) {
      const float32x4_t offset = load_numbers(format, numbers + kTileRows * number_bytes(format), q);
      if (format.offset == Offset::kZero) c = vsubq_f32(c, offset);
      else result = vfmaq_n_f32(result, offset, x);
    }
    y[q] = vfmaq_f32(result, d, vfmaq_n_f32(total[q], c, x));
  }
}

}  // namespace lutra::kernels
#endif
