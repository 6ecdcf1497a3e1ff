#include "kernels/gemm_i8/gemm_arm.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "kernels/gemm_i8/gemm_kernels.h"

namespace lutra::kernels {
namespace {

/// What is the same for all rows of a panel.
struct Panel {
  const GemmArgs& args;
  uint32_t first;
  int32_t below;
  const int32_t* weight_sums;
};

/// The 64 codes of row `row` from its sums.
void requantise_8(const Panel& panel, uint32_t row, const int32_t* sums, std::byte* to) {
  const GemmArgs& args = panel.args;
  const auto* multiplier = static_cast<const float*>(args.multiplier) + panel.first;
  const auto* correction = static_cast<const int32_t*>(args.correction) + panel.first;
  const int32x4_t more = vdupq_n_s32(args.row_correction == nullptr ? 0 : static_cast<const int32_t*>(args.row_correction)[row]);
  const float32x4_t lo = vdupq_n_f32(static_cast<float>(lowest_code(args.type) + args.offset)), hi = vdupq_n_f32(static_cast<float>(highest_code(args.type) + args.offset));
  const int32x4_t offset = vdupq_n_s32(args.offset);
  for (uint32_t c = 0; c < kGemmPanel; c += 16) {
    int16x4_t codes[4];
#pragma GCC unroll 4
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t at = c + 4 * i;
      const int32x4_t add = vaddq_s32(vmlaq_n_s32(vld1q_s32(correction + at), vld1q_s32(panel.weight_sums + at), panel.below), more);
      const float32x4_t value = vmulq_f32(vcvtq_f32_s32(vaddq_s32(vld1q_s32(sums + at), add)), vld1q_f32(multiplier + at));
      codes[i] = vmovn_s32(vsubq_s32(vcvtnq_s32_f32(vminq_f32(vmaxq_f32(value, lo), hi)), offset));
    }
    const int8x16_t bytes = vcombine_s8(vmovn_s16(vcombine_s16(codes[0], codes[1])), vmovn_s16(vcombine_s16(codes[2], codes[3])));
    vst1q_s8(reinterpret_cast<int8_t*>(to + c), bytes);
  }
}

/// Two sums of 16-bit codes as the doubles that they are, from those of their byte planes and of the weights.
float64x2_t join(int32x2_t low, int32x2_t high, int32x2_t weight_sum, double below) {
  const float64x2_t planes = vaddq_f64(vmulq_n_f64(vcvtq_f64_s64(vmovl_s32(high)), 256.0), vcvtq_f64_s64(vmovl_s32(low)));
  return vaddq_f64(planes, vmulq_n_f64(vcvtq_f64_s64(vmovl_s32(weight_sum)), below));
}

/// The same for 16-bit codes: sums of the low bytes, then 64 of the high bytes.
void requantise_16(const Panel& panel, uint32_t row, const int32_t* sums, std::byte* to) {
  const GemmArgs& args = panel.args;
  const auto* multiplier = static_cast<const double*>(args.multiplier) + panel.first;
  const auto* correction = static_cast<const double*>(args.correction) + panel.first;
  const float64x2_t more = vdupq_n_f64(args.row_correction == nullptr ? 0.0 : static_cast<const double*>(args.row_correction)[row]);
  const float64x2_t lo = vdupq_n_f64(lowest_code(args.type) + args.offset), hi = vdupq_n_f64(highest_code(args.type) + args.offset);
  const double below = 257.0 * panel.below;  // off both planes
  for (uint32_t c = 0; c < kGemmPanel; c += 4) {
    int32x2_t codes[2];
#pragma GCC unroll 2
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t at = c + 2 * i;
      const float64x2_t sum = join(vld1_s32(sums + at), vld1_s32(sums + kGemmPanel + at), vld1_s32(panel.weight_sums + at), below);
      const float64x2_t value = vmulq_f64(vaddq_f64(vaddq_f64(sum, vld1q_f64(correction + at)), more), vld1q_f64(multiplier + at));
      codes[i] = vmovn_s64(vcvtnq_s64_f64(vminq_f64(vmaxq_f64(value, lo), hi)));
    }
    const int16x4_t words = vmovn_s32(vsubq_s32(vcombine_s32(codes[0], codes[1]), vdupq_n_s32(args.offset)));
    std::memcpy(to + c * size_t{2}, &words, 8);
  }
}

void copy_flipped(const uint8_t* from, uint32_t depth, uint8_t flip, uint8_t* to) {
  uint32_t k = 0;
  for (; k + 16 <= depth; k += 16) vst1q_u8(to + k, veorq_u8(vld1q_u8(from + k), vdupq_n_u8(flip)));
  for (; k < depth; ++k) to[k] = from[k] ^ flip;
}

void split_planes(const uint8_t* from, uint32_t depth, uint8_t flip, uint8_t* low, uint8_t* high) {
  uint32_t k = 0;
  for (; k + 16 <= depth; k += 16) {
    const uint8x16x2_t planes = vld2q_u8(from + 2 * k);
    vst1q_u8(low + k, planes.val[0]);
    vst1q_u8(high + k, veorq_u8(planes.val[1], vdupq_n_u8(flip)));
  }
  for (; k < depth; ++k) {
    low[k] = from[2 * k];
    high[k] = from[2 * k + 1] ^ flip;
  }
}

void widen_halves(const uint16_t* from, uint32_t depth, float* to) {
  uint32_t k = 0;
  for (; k + 4 <= depth; k += 4) vst1q_f32(to + k, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + k))));
  for (; k < depth; ++k) to[k] = vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(from[k]))), 0);
}

}  // namespace

void gemm_prepare_neon(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out) {
  const size_t row_size = gemm_prepared_row(type, depth);
  const size_t plane = (size_t{depth} + 3) / 4 * 4;
  for (uint32_t row = row_begin; row < row_end; ++row) {
    const auto* from = reinterpret_cast<const uint8_t*>(x + row * x_stride);
    auto* to = reinterpret_cast<uint8_t*>(out + row * row_size);
    switch (type) {
      case Element::kU8:
      case Element::kS8:
        copy_flipped(from, depth, type == Element::kS8 ? 0x80 : 0, to);
        std::memset(to + depth, 0, plane - depth);
        break;
      case Element::kU16:
      case Element::kS16:
        split_planes(from, depth, type == Element::kS16 ? 0x80 : 0, to, to + plane);
        std::memset(to + depth, 0, plane - depth);
        std::memset(to + plane + depth, 0, plane - depth);
        break;
      case Element::kF16: widen_halves(reinterpret_cast<const uint16_t*>(from), depth, reinterpret_cast<float*>(to)); break;
      case Element::kF32: std::memcpy(to, from, row_size); break;
    }
  }
}

void gemm_run_dots(const DotRows& dots, const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end) {
  const bool wide = is_16_bit(args.type);
  const uint32_t planes = wide ? 2 : 1, step = dots.rows / planes, groups = (args.depth + 3) / 4;
  const size_t plane = size_t{groups} * 4, size = planes;
  alignas(16) int32_t sums[kMostDotRows * kGemmPanel];
  alignas(16) std::byte codes[kGemmPanel * 2];
  for (uint32_t at = panel_begin; at < panel_end; ++at) {
    const Panel panel{args, at * kGemmPanel, dots.below, gemm_weight_sums(args.packed, args.outputs, args.depth) + at * kGemmPanel};
    const auto* w = reinterpret_cast<const int8_t*>(args.packed + at * plane * kGemmPanel);
    const uint32_t columns = std::min(args.outputs - panel.first, kGemmPanel);
    for (uint32_t row = row_begin; row < row_end; row += step) {
      const uint32_t rows = std::min(row_end - row, step);
      const uint8_t* x[kMostDotRows];
      for (uint32_t r = 0; r < rows * planes; ++r) x[r] = reinterpret_cast<const uint8_t*>(args.x + (row + r / planes) * args.x_stride) + r % planes * plane;
      dots.run(x, rows * planes, w, groups, sums);
      for (uint32_t r = 0; r < rows; ++r) {
        std::byte* y = args.y + (row + r) * args.y_stride + panel.first * size;
        std::byte* to = columns == kGemmPanel ? y : codes;
        (wide ? requantise_16 : requantise_8)(panel, row + r, sums + r * planes * kGemmPanel, to);
        if (to == codes) std::memcpy(y, codes, columns * size);
      }
    }
  }
}

}  // namespace lutra::kernels
#endif
