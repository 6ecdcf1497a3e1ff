// ARMv8.0, which has no dot product: bytes are multiplied to words (SMULL) that are added in pairs to 32-bit sums (SADALP).
#include "kernels/gemm_i8/gemm_arm.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <cstring>

#include "kernels/gemm_i8/gemm_kernels.h"

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 4;
constexpr uint32_t kColumns = 8;

/// R byte rows × 8 outputs: 16 sums for 4 rows, two of every output.
template <int R>
void tile(const uint8_t* const* rows, const int8_t* w, uint32_t groups, int32_t* out) {
  const uint8_t* x[R];
  int32x4_t sums[R][4];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    x[r] = rows[r];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[r][i] = vdupq_n_s32(0);
  }
  const uint8x16_t signs = vdupq_n_u8(0x80);
  for (size_t at = 0; at < size_t{groups} * 4; at += 4, w += size_t{kGemmPanel} * 4) {
    const int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      uint32_t word;
      std::memcpy(&word, x[r] + at, 4);
      const int8x16_t codes = vreinterpretq_s8_u8(veorq_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), signs));
      sums[r][0] = vpadalq_s16(sums[r][0], vmull_s8(vget_low_s8(codes), vget_low_s8(w0)));
      sums[r][1] = vpadalq_s16(sums[r][1], vmull_high_s8(codes, w0));
      sums[r][2] = vpadalq_s16(sums[r][2], vmull_s8(vget_low_s8(codes), vget_low_s8(w1)));
      sums[r][3] = vpadalq_s16(sums[r][3], vmull_high_s8(codes, w1));
      asm volatile("" : "+r"(at));  // the next row's code is not loaded before: there are no registers for it
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    vst1q_s32(out + r * kGemmPanel, vpaddq_s32(sums[r][0], sums[r][1]));
    vst1q_s32(out + r * kGemmPanel + 4, vpaddq_s32(sums[r][2], sums[r][3]));
  }
}

using Tile = void (*)(const uint8_t* const* rows, const int8_t* w, uint32_t groups, int32_t* out);
constexpr Tile kTiles[kRows + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>};

void run(const uint8_t* const* x, uint32_t count, const int8_t* panel, uint32_t groups, int32_t* sums) {
  for (uint32_t c = 0; c < kGemmPanel; c += kColumns) kTiles[count](x, panel + c * 4, groups, sums + c);
}

}  // namespace

void gemm_run_neon(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  if (args.layout != GemmLayout::kDotS8) return gemm_run_float_neon(args, row_begin, row_end, panel_begin, panel_end);
  gemm_run_dots({kRows, 128, run}, args, row_begin, row_end, panel_begin, panel_end);
}

}  // namespace lutra::kernels
#endif
