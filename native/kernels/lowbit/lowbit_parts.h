// How the vector tiers walk a weight: tile by tile, part by part; a tier brings what multiplies one part, and what adds up one chunk.
#pragma once

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {

inline constexpr uint32_t kPartChunks = 16;                             // of a piece of a group, and of parts that are unpacked or read several times
inline constexpr uint32_t kRowBlock = 32;                               // most rows of x that a part is multiplied with, which share one unpacking
inline constexpr size_t kCodeBytes = size_t{kTileRows} * kChunkCols;  // of an unpacked chunk: [quad][row][4 columns]

/// Groups of equally many chunks, or a piece of one group.
struct Part {
  const std::byte* chunks;   // of the first group
  const std::byte* numbers;  // of the first group
  uint32_t first;            // chunk of the row
  uint32_t groups;
  uint32_t group_chunks;  // of each

  uint32_t count() const noexcept { return groups * group_chunks; }
  const std::byte* chunk(const LowBitFormat& format, uint32_t i) const noexcept { return chunks + i / group_chunks * stride(format) + i % group_chunks * chunk_bytes(format.bits); }
  /// Bytes from a group to the next one.
  size_t stride(const LowBitFormat& format) const noexcept { return group_chunks * chunk_bytes(format.bits) + numbers_bytes(format); }
};

/// y[r] += part · x_r for n prepared rows; by bits − 1, NULL where the family does not take them.
using PartKernel = void (*)(const LowBitFormat& format, const GroupTerms& terms, const Part& part, const std::byte* prepared, uint32_t n, uint32_t cols, float (*y)[kTileRows]);
using PartKernels = PartKernel[4];

/// The int32 sums of chunk `index` for 16 rows; by bits − 1.
using ChunkSum = void (*)(const std::byte* chunk, const std::byte* prepared_row, uint32_t index, int32_t* out);
using ChunkSums = ChunkSum[4];

void run_parts(const PackedWeight& weight, Family family, const PartKernels& kernels, const std::byte* prepared, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y,
               size_t y_stride) noexcept;

/// LowBitKernel::run.
template <Family F, const PartKernels& Kernels>
void run(const PackedWeight& weight, const std::byte* prepared, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  run_parts(weight, F, Kernels, prepared, n, tile_begin, tile_end, y, y_stride);
}

/// LowBitKernel::accumulators.
template <Family F, const ChunkSums& Sums>
void accumulators(const PackedWeight& weight, const std::byte* prepared, uint32_t row, uint32_t tile, int32_t* out) {
  const LowBitFormat format = *low_bit_format(weight.type);
  const ChunkSum sums = Sums[format.bits - 1];
  const std::byte* activations = prepared + row * PreparedLayout::of(F, weight.cols).stride;
  for_each_chunk(weight, format, tile, [&](uint32_t index, const std::byte* chunk) { sums(chunk, activations, index, out + index * kTileRows); });
}

}  // namespace lutra::kernels
