// ARMv8.2 with SDOT: four products of signed bytes added to each 32-bit sum. Four groups of x are one vector, whose lanes multiply four outputs at a time.
#include "kernels/gemm_i8/gemm_arm.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cstring>

#include "kernels/gemm_i8/gemm_kernels.h"

#define LUTRA_INLINE_DOTPROD LUTRA_TARGET_DOTPROD __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 4;
constexpr uint32_t kColumns = 16;

/// One group: lane `Lane` of each row's x. Moves `w` to the next group, and keeps the compiler from loading its weights now, for which there are no registers.
template <int Lane, int R>
LUTRA_INLINE_DOTPROD void step(const int8_t*& w, const int8x16_t (&x)[R], int32x4_t (&sums)[R][4]) {
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    const int8x16_t weights = vld1q_s8(w + 16 * c);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sums[r][c] = vdotq_laneq_s32(sums[r][c], weights, x[r], Lane);
  }
  w += size_t{kGemmPanel} * 4;
  asm volatile("" : "+r"(w));
}

/// R byte rows × 16 outputs: 16 sums for 4 rows.
template <int R>
LUTRA_TARGET_DOTPROD void tile(const uint8_t* const* rows, const int8_t* w, uint32_t groups, int32_t* out) {
  const uint8_t* from[R];
  int32x4_t sums[R][4];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    from[r] = rows[r];
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = vdupq_n_s32(0);
  }
  const uint8x16_t signs = vdupq_n_u8(0x80);
  int8x16_t x[R];
  uint32_t g = 0;
  for (; g + 4 <= groups; g += 4) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) x[r] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(from[r] + size_t{g} * 4), signs));
    step<0>(w, x, sums);
    step<1>(w, x, sums);
    step<2>(w, x, sums);
    step<3>(w, x, sums);
  }
  for (; g < groups; ++g) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      uint32_t word;
      std::memcpy(&word, from[r] + size_t{g} * 4, 4);
      x[r] = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), signs));
    }
    step<0>(w, x, sums);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) vst1q_s32(out + r * kGemmPanel + 4 * c, sums[r][c]);
  }
}

using Tile = void (*)(const uint8_t* const* rows, const int8_t* w, uint32_t groups, int32_t* out);
constexpr Tile kTiles[kRows + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>};

void run(const uint8_t* const* x, uint32_t count, const int8_t* panel, uint32_t groups, int32_t* sums) {
  for (uint32_t c = 0; c < kGemmPanel; c += kColumns) kTiles[count](x, panel + c * 4, groups, sums + c);
}

}  // namespace

void gemm_run_dotprod(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  if (args.layout != GemmLayout::kDotS8) return gemm_run_float_neon(args, row_begin, row_end, panel_begin, panel_end);
  gemm_run_dots({kRows, 128, run}, args, row_begin, row_end, panel_begin, panel_end);
}

}  // namespace lutra::kernels
#endif
