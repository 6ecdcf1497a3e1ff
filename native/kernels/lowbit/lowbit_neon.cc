// ARMv8.0, which has no dot product: products of bytes are added up in 16 bits (SMLAL) within a chunk, at most 6 · 4 · 127 of table entries or 8 · 15 · 127 of codes, and
// their words added at its end.
#include "kernels/lowbit/lowbit_arm.h"

#ifdef LUTRA_ARM64
#include <utility>

#define LUTRA_LOWBIT_TARGET
#define LUTRA_LOWBIT_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kDotRows = 2;  // 16 sums

struct Sums {
  int16x8_t low, high;  // of two words each
};

LUTRA_LOWBIT_INLINE void clear(Sums& sums) { sums.low = sums.high = vdupq_n_s16(0); }

struct Activations {
  const int8_t* codes;
  Activations() = default;
  explicit Activations(const int8_t* x) : codes(x) {}
};

LUTRA_LOWBIT_INLINE void add(Sums& sums, int8x16_t a, int8x16_t b) {
  sums.low = vmlal_s8(sums.low, vget_low_s8(a), vget_low_s8(b));
  sums.high = vmlal_high_s8(sums.high, a, b);
}
LUTRA_LOWBIT_INLINE int32x4_t total(const Sums& sums) { return vpaddq_s32(vpaddlq_s16(sums.low), vpaddlq_s16(sums.high)); }
LUTRA_LOWBIT_INLINE void settle(Sums&, const std::byte*& chunk) { asm volatile("" : "+r"(chunk)); }

template <uint32_t Quad>
LUTRA_LOWBIT_INLINE void add_quad(Sums& sums, int8x16_t codes, const Activations& x) {
  uint32_t word;
  std::memcpy(&word, x.codes + 4 * Quad, 4);
  add(sums, codes, vreinterpretq_s8_u8(repeat_word(word)));
}

#include "kernels/lowbit/lowbit_arm.inc"

}  // namespace

const LowBitKernel kNeonLut = lut_kernel("lut-neon", Isa::kNeon), kNeonDot = dot_kernel("dot-neon", Isa::kNeon);

}  // namespace lutra::kernels
#endif
