// NEON: the float forms. Register tile: 4 rows × 16 outputs (16 sums), four of depth at a time.
#include "kernels/gemm_i8/gemm_arm.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#define LUTRA_INLINE __attribute__((always_inline)) inline

namespace lutra::kernels {
namespace {

constexpr uint32_t kRows = 4;
constexpr uint32_t kColumns = 16;

template <GemmLayout L>
LUTRA_INLINE void load_weights(const std::byte* w, float32x4_t (&to)[4]) {
  if constexpr (L == GemmLayout::kFloatS8) {
    const int8x16_t bytes = vld1q_s8(reinterpret_cast<const int8_t*>(w));
    const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
    to[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    to[1] = vcvtq_f32_s32(vmovl_high_s16(low));
    to[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    to[3] = vcvtq_f32_s32(vmovl_high_s16(high));
  }
  if constexpr (L == GemmLayout::kFloatF16) {
    const auto* halves = reinterpret_cast<const uint16_t*>(w);
    const float16x8_t low = vreinterpretq_f16_u16(vld1q_u16(halves)), high = vreinterpretq_f16_u16(vld1q_u16(halves + 8));
    to[0] = vcvt_f32_f16(vget_low_f16(low));
    to[1] = vcvt_high_f32_f16(low);
    to[2] = vcvt_f32_f16(vget_low_f16(high));
    to[3] = vcvt_high_f32_f16(high);
  }
  if constexpr (L == GemmLayout::kFloatF32) {
    const auto* floats = reinterpret_cast<const float*>(w);
    for (uint32_t i = 0; i < 4; ++i) to[i] = vld1q_f32(floats + 4 * i);
  }
}

/// One of depth: lane `Lane` of each row's x.
template <GemmLayout L, int Lane, int R>
LUTRA_INLINE void step(const std::byte* w, const float32x4_t (&x)[R], float32x4_t (&sums)[R][4]) {
  float32x4_t weights[4];
  load_weights<L>(w, weights);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = vfmaq_laneq_f32(sums[r][c], weights[c], x[r], Lane);
  }
}

/// Stores the first `columns` of 16 values.
void store(const GemmArgs& args, uint32_t row, uint32_t first, uint32_t columns, const float32x4_t (&values)[4]) {
  alignas(16) std::byte bytes[kColumns * 4];
  size_t size = 4;
  if (args.type == Element::kF16) {
    size = 2;
    for (uint32_t c = 0; c < 4; ++c) vst1_u16(reinterpret_cast<uint16_t*>(bytes) + 4 * c, vreinterpret_u16_f16(vcvt_f16_f32(values[c])));
  } else {
    for (uint32_t c = 0; c < 4; ++c) vst1q_f32(reinterpret_cast<float*>(bytes) + 4 * c, values[c]);
  }
  std::memcpy(args.y + row * args.y_stride + first * size, bytes, std::min(columns, kColumns) * size);
}

template <GemmLayout L, int R>
void tile(const GemmArgs& args, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns) {
  constexpr size_t kStep = kGemmPanel * gemm_weight_size(L);
  const float* rows[R];
  float32x4_t sums[R][4];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    rows[r] = reinterpret_cast<const float*>(args.x + (row + r) * args.x_stride);
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) sums[r][c] = vdupq_n_f32(0.0f);
  }
  float32x4_t x[R];
  uint32_t k = 0;
  for (; k + 4 <= args.depth; k += 4, w += 4 * kStep) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) x[r] = vld1q_f32(rows[r] + k);
    step<L, 0>(w, x, sums);
    step<L, 1>(w + kStep, x, sums);
    step<L, 2>(w + 2 * kStep, x, sums);
    step<L, 3>(w + 3 * kStep, x, sums);
  }
  for (; k < args.depth; ++k, w += kStep) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) x[r] = vdupq_n_f32(rows[r][k]);
    step<L, 0>(w, x, sums);
  }
  const auto* multiplier = static_cast<const float*>(args.multiplier) + first;
  const auto* bias = args.correction == nullptr ? nullptr : static_cast<const float*>(args.correction) + first;
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    float32x4_t values[4];
#pragma GCC unroll 4
    for (uint32_t c = 0; c < 4; ++c) {
      values[c] = vmulq_f32(sums[r][c], vld1q_f32(multiplier + 4 * c));
      if (bias != nullptr) values[c] = vaddq_f32(values[c], vld1q_f32(bias + 4 * c));
    }
    store(args, row + static_cast<uint32_t>(r), first, columns, values);
  }
}

using Tile = void (*)(const GemmArgs&, uint32_t row, const std::byte* w, uint32_t first, uint32_t columns);
template <GemmLayout L>
constexpr Tile kTiles[kRows + 1] = {nullptr, tile<L, 1>, tile<L, 2>, tile<L, 3>, tile<L, 4>};

template <GemmLayout L>
void run(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  constexpr size_t kElement = gemm_weight_size(L);
  for (uint32_t panel = panel_begin; panel < panel_end; ++panel) {
    const uint32_t begin = panel * kGemmPanel, end = std::min(args.outputs, begin + kGemmPanel);
    const std::byte* w = args.packed + size_t{begin} * args.depth * kElement;
    for (uint32_t first = begin; first < end; first += kColumns, w += kColumns * kElement) {
      for (uint32_t row = row_begin; row < row_end; row += kRows) kTiles<L>[std::min(row_end - row, kRows)](args, row, w, first, end - first);
    }
  }
}

}  // namespace

void gemm_run_float_neon(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  switch (args.layout) {
    case GemmLayout::kFloatS8: return run<GemmLayout::kFloatS8>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kFloatF16: return run<GemmLayout::kFloatF16>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kFloatF32: return run<GemmLayout::kFloatF32>(args, row_begin, row_end, panel_begin, panel_end);
    case GemmLayout::kDotS8: return;
  }
}

}  // namespace lutra::kernels
#endif
