// What the ARM tiers of the linear kernels and of low-bit weights share: activations in 8 bits.
#include "kernels/linear/linear_internal.h"

#ifdef LUTRA_ARM64
#include <arm_neon.h>

namespace lutra::kernels {
namespace {

void quantize_block(const float* x, std::byte* row, const QuantizedLayout& layout, uint32_t block) {
  uint32x4_t largest = vdupq_n_u32(0);  // |x| orders like its bits, and NaN and infinity come last
  for (int i = 0; i < 8; ++i) largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(x + 4 * i))));
  const uint32_t bits = vmaxvq_u32(largest);
  float maximum;
  std::memcpy(&maximum, &bits, sizeof maximum);
  std::byte* codes = row + static_cast<size_t>(block) * kBlockCols;
  float scale = 0.0f;
  int32_t sum = 0;
  if (bits >= 0x7f800000u || maximum < kSmallestMaximum) {
    if (bits >= 0x7f800000u) scale = std::numeric_limits<float>::quiet_NaN();
    std::memset(codes, 0, kBlockCols);
  } else {
    scale = maximum / 127.0f;
    const float inverse = 127.0f / maximum;
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < 2; ++i) {
      int16x4_t words[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const int32x4_t q = vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 16 * i + 4 * j), inverse));
        sums = vaddq_s32(sums, q);
        words[j] = vmovn_s32(q);
      }
      const int8x16_t bytes = vcombine_s8(vmovn_s16(vcombine_s16(words[0], words[1])), vmovn_s16(vcombine_s16(words[2], words[3])));
      vst1q_s8(reinterpret_cast<int8_t*>(codes + 16 * i), bytes);
    }
    sum = vaddvq_s32(sums);
  }
  store_as(row + layout.scale + 4 * block, scale);
  store_as(row + layout.scaled_sum + 4 * block, scale * static_cast<float>(sum));
  store_as(row + layout.negative_sum + 4 * block, -sum);
}

}  // namespace

void quantize_rows_neon(const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) {
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  for (uint32_t r = 0; r < n; ++r) {
    for (uint32_t block = 0; block < cols / kBlockCols; ++block) {
      quantize_block(x + r * x_stride + block * kBlockCols, out + r * layout.stride, layout, block);
    }
    if (const uint32_t left = cols % kBlockCols; left != 0) {
      const PaddedBlock last(x + r * x_stride + (cols - left), left);
      quantize_block(last.x, out + r * layout.stride, layout, cols / kBlockCols);
    }
  }
}

}  // namespace lutra::kernels
#endif
