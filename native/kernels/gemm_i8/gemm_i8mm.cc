// ARMv8.6 with USMMLA: 2 rows of 8 unsigned bytes times 2 outputs of 8 signed ones, four sums a vector. Two groups of a panel's weights interleaved by words are what the
// instruction wants; x is interleaved once per panel, a block of depth at a time.
#include "kernels/gemm_i8/gemm_arm.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm_i8/gemm_kernels.h"

#define LUTRA_INLINE_I8MM LUTRA_TARGET_I8MM __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 8;
constexpr uint32_t kColumns = 8;
constexpr uint32_t kPairs = kRows / 2;
constexpr uint32_t kBlock = 512;  // groups of x that are interleaved at once: 16 KB
constexpr uint32_t kTileSums = kRows * kColumns;
constexpr size_t kStep = size_t{kGemmPanel} * 4;

/// Two groups: weights `even` and `odd` of 4 outputs each against P pairs of rows.
template <int P>
LUTRA_INLINE_I8MM void step(const int8x16_t (&even)[2], const int8x16_t (&odd)[2], const uint8_t* x, int32x4_t (&sums)[P][4]) {
  int8x16_t w[4];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const int32x4_t a = vreinterpretq_s32_s8(even[i]), b = vreinterpretq_s32_s8(odd[i]);
    w[2 * i] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
    w[2 * i + 1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
    const uint8x16_t codes = vld1q_u8(x + 16 * p);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[p][i] = vusmmlaq_s32(sums[p][i], codes, w[i]);
  }
}

/// P pairs of rows × 8 outputs, added to `out` or set there. x: for every two groups the 16 bytes of each pair.
template <int P>
LUTRA_TARGET_I8MM void tile(const uint8_t* x, const int8_t* w, uint32_t groups, bool add, int32_t* out) {
  int32x4_t sums[P][4];
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[p][i] = add ? vld1q_s32(out + 16 * p + 4 * i) : vdupq_n_s32(0);
  }
  uint32_t g = 0;
  for (; g + 2 <= groups; g += 2, w += 2 * kStep, x += 16 * P) {
    const int8x16_t even[2] = {vld1q_s8(w), vld1q_s8(w + 16)}, odd[2] = {vld1q_s8(w + kStep), vld1q_s8(w + kStep + 16)};
    step<P>(even, odd, x, sums);
  }
  if (g < groups) {
    const int8x16_t even[2] = {vld1q_s8(w), vld1q_s8(w + 16)}, odd[2] = {vdupq_n_s8(0), vdupq_n_s8(0)};
    step<P>(even, odd, x, sums);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) vst1q_s32(out + 16 * p + 4 * i, sums[p][i]);
  }
}

using Tile = void (*)(const uint8_t* x, const int8_t* w, uint32_t groups, bool add, int32_t* out);
constexpr Tile kTiles[kPairs + 1] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>};

/// Rows 2 p and 2 p + 1 by turns of 8 bytes, for all pairs. An odd last row is paired with itself; what an odd last group is paired with has weights of zero.
void interleave(const uint8_t* const* rows, uint32_t count, size_t begin, uint32_t groups, uint8_t* to) {
  const uint32_t pairs = (count + 1) / 2;
  for (uint32_t p = 0; p < pairs; ++p) {
    const uint8_t* first = rows[2 * p] + begin * 4;
    const uint8_t* second = rows[std::min(2 * p + 1, count - 1)] + begin * 4;
    uint8_t* out = to + 16 * p;
    uint32_t g = 0;
    for (; g + 4 <= groups; g += 4, out += 32 * pairs) {
      const uint64x2_t a = vreinterpretq_u64_u8(vld1q_u8(first + g * 4)), b = vreinterpretq_u64_u8(vld1q_u8(second + g * 4));
      vst1q_u8(out, vreinterpretq_u8_u64(vzip1q_u64(a, b)));
      vst1q_u8(out + 16 * pairs, vreinterpretq_u8_u64(vzip2q_u64(a, b)));
    }
    for (; g < groups; g += 2, out += 16 * pairs) {
      const size_t bytes = std::min(groups - g, 2u) * 4;
      std::memset(out, 0, 16);
      std::memcpy(out, first + g * 4, bytes);
      std::memcpy(out + 8, second + g * 4, bytes);
    }
  }
}

/// [row][64] from the tiles' [pair][2 outputs][row of the pair][output].
void separate(const int32_t* tiles, uint32_t count, int32_t* sums) {
  for (uint32_t c = 0; c < kGemmPanel; c += 4) {
    const int32_t* tile = tiles + c / kColumns * kTileSums + c % kColumns * 2;
    for (uint32_t r = 0; r < count; ++r) {
      const int32_t* two = tile + r / 2 * 16 + r % 2 * 2;
      vst1q_s32(sums + r * kGemmPanel + c, vcombine_s32(vld1_s32(two), vld1_s32(two + 4)));
    }
  }
}

void run(const uint8_t* const* x, uint32_t count, const int8_t* panel, uint32_t groups, int32_t* sums) {
  alignas(64) uint8_t codes[kRows * kBlock * 4];
  alignas(64) int32_t tiles[kGemmPanel / kColumns * kTileSums];
  for (uint32_t begin = 0; begin < groups; begin += kBlock) {
    const uint32_t block = std::min(groups - begin, kBlock);
    interleave(x, count, begin, block, codes);
    for (uint32_t c = 0; c < kGemmPanel; c += kColumns) {
      kTiles[(count + 1) / 2](codes, panel + begin * kStep + c * 4, block, begin > 0, tiles + c / kColumns * kTileSums);
    }
  }
  separate(tiles, count, sums);
}

}  // namespace

void gemm_run_i8mm(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  if (args.layout != GemmLayout::kDotS8) return gemm_run_float_neon(args, row_begin, row_end, panel_begin, panel_end);
  gemm_run_dots({kRows, 0, run}, args, row_begin, row_end, panel_begin, panel_end);
}

}  // namespace lutra::kernels
#endif
