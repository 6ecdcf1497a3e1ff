// ARMv8.2 with SDOT: four products of signed bytes added to each word, of looked-up entries with the weights of their planes or of codes with four columns of x.
#include "kernels/lowbit/lowbit_arm.h"

#ifdef LUTRA_ARM64
#include <utility>

#define LUTRA_LOWBIT_TARGET LUTRA_TARGET_DOTPROD
#define LUTRA_LOWBIT_INLINE LUTRA_TARGET_DOTPROD __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kDotRows = 3;  // 12 sums beside 6 registers of x; the totals of four rows would not fit

struct Sums {
  int32x4_t words;
};

/// Not a copy of another zero, which would be one more instruction of the vector units.
LUTRA_LOWBIT_INLINE void clear(Sums& sums) { asm volatile("movi %0.4s, #0" : "=w"(sums.words)); }

struct Activations {
  int8x16_t halves[2];
  Activations() = default;
  explicit LUTRA_LOWBIT_INLINE Activations(const int8_t* x) : halves{vld1q_s8(x), vld1q_s8(x + 16)} {}
};

LUTRA_LOWBIT_INLINE void add(Sums& sums, int8x16_t a, int8x16_t b) { sums.words = vdotq_s32(sums.words, a, b); }
LUTRA_LOWBIT_INLINE int32x4_t total(const Sums& sums) { return sums.words; }

LUTRA_LOWBIT_INLINE void settle(Sums& sums, const std::byte*&) { asm volatile("" : "+w"(sums.words)); }

template <uint32_t Quad>
LUTRA_LOWBIT_INLINE void add_quad(Sums& sums, int8x16_t codes, const Activations& x) {
  sums.words = vdotq_laneq_s32(sums.words, codes, x.halves[Quad / 4], Quad % 4);
}

#include "kernels/lowbit/lowbit_arm.inc"

}  // namespace

const LowBitKernel kDotprodLut = lut_kernel("lut-dotprod", Isa::kDotprod), kDotprodDot = dot_kernel("dot-dotprod", Isa::kDotprod);

}  // namespace lutra::kernels
#endif
