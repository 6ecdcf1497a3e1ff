#include "kernels/lowbit/lowbit_arm.h"

#ifdef LUTRA_ARM64
#include <algorithm>

namespace lutra::kernels {
namespace {

/// `x` with the sign bits of `signs` flipped.
float32x4_t flip(float32x4_t x, uint32x4_t signs) { return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(x), signs)); }

/// Sums of the four lanes of each.
float32x4_t sum_each(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d) { return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)); }

/// The 16 entries of a quad.
int8x16_t entries(const float* x, float inverse) {
  constexpr uint32_t kSign = 0x80000000u;
  static constexpr uint32_t kFirst[4] = {kSign, 0, kSign, 0}, kSecond[4] = {kSign, kSign, 0, 0};
  // Entries 0 … 7, x_3 negative in all; the upper half mirrors them.
  const float32x4_t pair = vaddq_f32(flip(vdupq_n_f32(x[0]), vld1q_u32(kFirst)), flip(vdupq_n_f32(x[1]), vld1q_u32(kSecond)));
  const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(vaddq_f32(pair, vdupq_n_f32(-x[2] - x[3])), inverse));
  const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(vaddq_f32(pair, vdupq_n_f32(x[2] - x[3])), inverse));
  const int8x8_t half = vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high)));
  return vcombine_s8(half, vneg_s8(vrev64_s8(half)));
}

void build_chunk(const float* x, std::byte* row, const TableLayout& layout, uint32_t chunk) {
  std::byte* tables = row + size_t{chunk} * kQuads * kTableBytes;
  float sums[kQuads];
  float32x4_t magnitudes[2];
  for (uint32_t i = 0; i < 2; ++i) {  // four quads at once
    const float32x4_t a = vld1q_f32(x + 16 * i), b = vld1q_f32(x + 16 * i + 4), c = vld1q_f32(x + 16 * i + 8), d = vld1q_f32(x + 16 * i + 12);
    magnitudes[i] = sum_each(vabsq_f32(a), vabsq_f32(b), vabsq_f32(c), vabsq_f32(d));
    vst1q_f32(sums + 4 * i, sum_each(a, b, c, d));
  }
  float sum = 0.0f;
  for (const float one : sums) sum += one;
  const float largest = vmaxvq_f32(vmaxq_f32(magnitudes[0], magnitudes[1]));  // NaN when one is
  float half_step = 0.0f;
  if (!(largest <= std::numeric_limits<float>::max()) || largest < kSmallestMaximum) {
    if (!(largest <= std::numeric_limits<float>::max())) half_step = std::numeric_limits<float>::quiet_NaN();
    std::memset(tables, 0, kQuads * kTableBytes);
  } else {
    half_step = largest / 254.0f;
    const float inverse = 127.0f / largest;
    for (uint32_t quad = 0; quad < kQuads; ++quad) vst1q_s8(reinterpret_cast<int8_t*>(tables + kTableBytes * quad), entries(x + 4 * quad, inverse));
  }
  store_as(row + layout.half_step + 4 * chunk, half_step);
  store_as(row + layout.sum + 4 * chunk, sum);
}

}  // namespace

void build_tables_neon(const float* x, uint32_t cols, std::byte* out) {
  const TableLayout layout = TableLayout::of(cols);
  for (uint32_t chunk = 0; chunk < cols / kChunkCols; ++chunk) build_chunk(x + chunk * kChunkCols, out, layout, chunk);
  if (const uint32_t left = cols % kChunkCols; left != 0) build_chunk(PaddedBlock(x + (cols - left), left).x, out, layout, cols / kChunkCols);
}

void quantize_neon(const float* x, uint32_t cols, std::byte* out) { quantize_rows_neon(x, cols, 1, cols, out); }

}  // namespace lutra::kernels
#endif
