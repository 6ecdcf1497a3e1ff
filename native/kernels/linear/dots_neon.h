// Sums of signed bytes on ARMv8.0, which has no dot product: products are added up in 16 bits (SMLAL) as long as they fit, then in pairs.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#define LUTRA_DOTS_TARGET
#define LUTRA_DOTS_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels::neon {

inline constexpr uint32_t kDotRows = 2;  // 16 sums

/// Of a chunk: at most 6 · 4 · 127 of table entries, 8 · 15 · 127 of 4-bit codes.
struct Sums {
  int16x8_t low, high;  // of two words each
};
/// Of 8-bit codes, of which two products fit 16 bits: 2 · 128 · 127, as x is never −128.
struct WideSums {
  int32x4_t low, high;
};

LUTRA_DOTS_INLINE void clear(Sums& sums) { sums.low = sums.high = vdupq_n_s16(0); }
LUTRA_DOTS_INLINE void clear(WideSums& sums) { sums.low = sums.high = vdupq_n_s32(0); }
LUTRA_DOTS_INLINE int32x4_t total(const Sums& sums) { return vpaddq_s32(vpaddlq_s16(sums.low), vpaddlq_s16(sums.high)); }
LUTRA_DOTS_INLINE int32x4_t total(const WideSums& sums) { return vpaddq_s32(sums.low, sums.high); }
LUTRA_DOTS_INLINE void settle(Sums&, const std::byte*& chunk) { asm volatile("" : "+r"(chunk)); }

LUTRA_DOTS_INLINE void add(Sums& sums, int8x16_t a, int8x16_t b) {
  sums.low = vmlal_s8(sums.low, vget_low_s8(a), vget_low_s8(b));
  sums.high = vmlal_high_s8(sums.high, a, b);
}

struct Activations {
  const int8_t* codes;
  Activations() = default;
  explicit Activations(const int8_t* x) : codes(x) {}

  /// Those of four columns, four times.
  LUTRA_DOTS_INLINE int8x16_t quad(uint32_t index) const {
    uint32_t word;
    std::memcpy(&word, codes + 4 * index, 4);
    return vreinterpretq_s8_u32(vdupq_n_u32(word));
  }
};

template <uint32_t Quad>
LUTRA_DOTS_INLINE void add_quad(Sums& sums, int8x16_t codes, const Activations& x) {
  add(sums, codes, x.quad(Quad));
}
template <uint32_t Quad>
LUTRA_DOTS_INLINE void add_two_quads(WideSums& sums, int8x16_t first, int8x16_t second, const Activations& x) {
  const int8x16_t a = x.quad(Quad), b = x.quad(Quad + 1);
  sums.low = vpadalq_s16(sums.low, vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(a)), vget_low_s8(second), vget_low_s8(b)));
  sums.high = vpadalq_s16(sums.high, vmlal_high_s8(vmull_high_s8(first, a), second, b));
}

}  // namespace lutra::kernels::neon
#endif
