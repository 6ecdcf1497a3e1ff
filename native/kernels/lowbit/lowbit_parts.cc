#include "kernels/lowbit/lowbit_parts.h"

#include <algorithm>

namespace lutra::kernels {
namespace {

/// One tile times n ≤ kRowBlock rows, part by part.
void multiply_tile(const PackedWeight& weight, const LowBitFormat& format, Family family, PartKernel kernel, uint32_t tile, const std::byte* prepared, uint32_t n, float* y, size_t y_stride) noexcept {
  const GroupTerms terms = GroupTerms::of(format, family);
  alignas(64) float sums[kRowBlock][kTileRows] = {};
  const uint32_t chunks = chunks_of(weight.cols), per_group = group_chunks(format, weight.cols);
  const std::byte* at = low_bit_tile(weight, format, tile);
  for (uint32_t begin = 0; begin < chunks; begin += per_group) {
    const uint32_t end = std::min(chunks, begin + per_group);
    const std::byte* numbers = at + (end - begin) * chunk_bytes(format.bits);
    for (uint32_t first = begin; first < end; first += kPartChunks) {
      const Part part = {at + (first - begin) * chunk_bytes(format.bits), first, std::min(kPartChunks, end - first), numbers};
      kernel(format, terms, part, prepared, n, weight.cols, sums);
    }
    at = numbers + numbers_bytes(format);
  }
  const uint32_t rows = tile_rows(weight, tile);
  for (uint32_t r = 0; r < n; ++r) {
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
