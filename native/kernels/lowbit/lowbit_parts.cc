#include "kernels/lowbit/lowbit_parts.h"

#include <algorithm>
#include <limits>

namespace lutra::kernels {
namespace {

/// Most chunks of a part of several groups. Codes of less than 4 bits are unpacked into memory of a part's size, and rows of x that take turns find a short part in the first-level cache; what one
/// turn multiplies from registers takes a whole row.
uint32_t part_chunks(const LowBitFormat& format, Family family, uint32_t n) noexcept {
  const bool whole = family == Family::kLut ? n == 1 : format.bits == 4 && n <= 4;
  return whole ? std::numeric_limits<uint32_t>::max() : kPartChunks;
}

/// One tile times n ≤ kRowBlock rows, part by part.
void multiply_tile(const PackedWeight& weight, const LowBitFormat& format, Family family, PartKernel kernel, uint32_t tile, const std::byte* prepared, uint32_t n, float* y, size_t y_stride) noexcept {
  const GroupTerms terms = GroupTerms::of(format, family);
  alignas(64) float sums[kRowBlock][kTileRows];
  std::memset(sums, 0, n * sizeof(sums[0]));
  const uint32_t chunks = chunks_of(weight.cols), per_group = group_chunks(format, weight.cols), most = part_chunks(format, family, n);
  const std::byte* at = low_bit_tile(weight, format, tile);
  for (uint32_t begin = 0; begin < chunks;) {
    const uint32_t group = std::min(per_group, chunks - begin);  // a shorter last group is a part of its own
    const uint32_t groups = group > kPartChunks ? 1 : std::min(most, chunks - begin) / group;
    const std::byte* numbers = at + group * chunk_bytes(format.bits);
    // Pieces do not depend on n, nor do groups, so a row of x has the same sums alone and among others.
    for (uint32_t piece = 0; piece < group; piece += kPartChunks) {
      const Part part = {at + piece * chunk_bytes(format.bits), numbers, begin + piece, groups, std::min(kPartChunks, group - piece)};
      kernel(format, terms, part, prepared, n, weight.cols, sums);
    }
    begin += groups * group;
    at += groups * (group * chunk_bytes(format.bits) + numbers_bytes(format));
  }
  const uint32_t rows = tile_rows(weight, tile);
  for (uint32_t r = 0; r < n; ++r) {
    for (float& sum : sums[r]) sum *= terms.f;
    add_spikes(weight, format, family, tile, prepared + r * PreparedLayout::of(family, weight.cols).stride, sums[r]);
    std::memcpy(y + r * y_stride + size_t{tile} * kTileRows, sums[r], rows * sizeof(float));
  }
}

}  // namespace

void run_parts(const PackedWeight& weight, Family family, const PartKernels& kernels, const std::byte* prepared, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y,
               size_t y_stride) noexcept {
  const LowBitFormat format = *low_bit_format(weight.type);
  const size_t stride = PreparedLayout::of(family, weight.cols).stride;
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t r = 0; r < n; r += kRowBlock) {
      multiply_tile(weight, format, family, kernels[format.bits - 1], tile, prepared + r * stride, std::min(kRowBlock, n - r), y + r * y_stride, y_stride);
    }
  }
}

}  // namespace lutra::kernels
