// Sums of signed bytes with SDOT: four products added to each of four words, which are four rows of weights.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#define LUTRA_DOTS_TARGET LUTRA_TARGET_DOTPROD
#define LUTRA_DOTS_INLINE LUTRA_TARGET_DOTPROD __attribute__((always_inline)) inline

namespace lutra::kernels::dotprod {

inline constexpr uint32_t kDotRows = 3;  // 12 sums beside 6 registers of x; the totals of four rows would not fit

struct Sums {
  int32x4_t words;
};
using WideSums = Sums;

/// Not a copy of another zero, which would be one more instruction of the vector units.
LUTRA_DOTS_INLINE void clear(Sums& sums) { asm volatile("movi %0.4s, #0" : "=w"(sums.words)); }
LUTRA_DOTS_INLINE int32x4_t total(const Sums& sums) { return sums.words; }
LUTRA_DOTS_INLINE void add(Sums& sums, int8x16_t a, int8x16_t b) { sums.words = vdotq_s32(sums.words, a, b); }
LUTRA_DOTS_INLINE void settle(Sums& sums, const std::byte*&) { asm volatile("" : "+w"(sums.words)); }

struct Activations {
  int8x16_t halves[2];
  Activations() = default;
  explicit LUTRA_DOTS_INLINE Activations(const int8_t* x) : halves{vld1q_s8(x), vld1q_s8(x + 16)} {}
};

template <uint32_t Quad>
LUTRA_DOTS_INLINE void add_quad(Sums& sums, int8x16_t codes, const Activations& x) {
  sums.words = vdotq_laneq_s32(sums.words, codes, x.halves[Quad / 4], Quad % 4);
}
template <uint32_t Quad>
LUTRA_DOTS_INLINE void add_two_quads(WideSums& sums, int8x16_t first, int8x16_t second, const Activations& x) {
  add_quad<Quad>(sums, first, x);
  add_quad<Quad + 1>(sums, second, x);
}

}  // namespace lutra::kernels::dotprod
#endif
