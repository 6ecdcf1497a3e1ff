// Activations that dwarf their neighbours ("massive activations" of real models): left out of the 8-bit form and multiplied exactly.
#include <algorithm>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

// A magnitude beyond this many times the mean of the other 31. Of normal values one in 10^30 chunks has one; below it the others keep a step of 0.1 standard deviations.
constexpr float kSpike = 16.0f;

struct Spike {
  uint32_t column;
  float x;
};

/// Place of the spike among 32 values, of which those after the first `count` are zeros, or kChunkCols.
uint32_t find_spike(const float* x, uint32_t count) noexcept {
  constexpr uint32_t kLanes = 8;  // sums side by side, for the compiler's vectors
  float most[kLanes] = {}, totals[kLanes] = {};
  for (uint32_t i = 0; i < kChunkCols; i += kLanes) {
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const float magnitude = std::abs(x[i + lane]);
      most[lane] = most[lane] < magnitude ? magnitude : most[lane];
      totals[lane] += magnitude;
    }
  }
  float largest = 0.0f, total = 0.0f;
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    largest = largest < most[lane] ? most[lane] : largest;
    total += totals[lane];
  }
  // Written so that chunks with NaN or infinity have none: their body says so.
  if (count < 2 || !(largest * static_cast<float>(count - 1) > kSpike * (total - largest)) || !(total <= std::numeric_limits<float>::max())) return kChunkCols;
  for (uint32_t i = 0; i < kChunkCols; ++i) {
    if (std::abs(x[i]) == largest) return i;
  }
  return kChunkCols;
}

/// Puts the body of a single chunk in the place of chunk `index` of a row of `cols`.
void replace_chunk(Family family, const std::byte* one, std::byte* row, uint32_t cols, uint32_t index) noexcept {
  if (family == Family::kLut) {
    const TableLayout from = TableLayout::of(kChunkCols), to = TableLayout::of(cols);
    std::memcpy(row + size_t{index} * kQuads * kTableBytes, one, kQuads * kTableBytes);
    std::memcpy(row + to.half_step + 4 * index, one + from.half_step, 4);
    std::memcpy(row + to.sum + 4 * index, one + from.sum, 4);
  } else {
    const QuantizedLayout from = QuantizedLayout::of(kChunkCols), to = QuantizedLayout::of(cols);
    std::memcpy(row + size_t{index} * kChunkCols, one, kChunkCols);
    std::memcpy(row + to.scale + 4 * index, one + from.scale, 4);
    std::memcpy(row + to.scaled_sum + 4 * index, one + from.scaled_sum, 4);
    std::memcpy(row + to.negative_sum + 4 * index, one + from.negative_sum, 4);
  }
}

}  // namespace

void prepare_rows(Family family, PrepareBody body, const float* x, size_t x_stride, uint32_t n, uint32_t cols, std::byte* out) noexcept {
  const PreparedLayout layout = PreparedLayout::of(family, cols);
  static_assert(TableLayout::of(kChunkCols).stride <= 256 && QuantizedLayout::of(kChunkCols).stride <= 256);
  alignas(64) std::byte one[256];
  for (uint32_t r = 0; r < n; ++r, x += x_stride, out += layout.stride) {
    body(x, cols, out);
    uint32_t found = 0;
    for (uint32_t index = 0; index < chunks_of(cols); ++index) {
      const uint32_t first = index * kChunkCols, count = std::min(kChunkCols, cols - first);
      const uint32_t place = find_spike(count == kChunkCols ? x + first : PaddedBlock(x + first, count).x, count);
      if (place == kChunkCols) continue;
      PaddedBlock rest(x + first, count);
      rest.x[place] = 0.0f;
      body(rest.x, kChunkCols, one);
      replace_chunk(family, one, out, cols, index);
      store_as(out + layout.spikes + 4 + 8 * size_t{found++}, Spike{first + place, x[first + place]});
    }
    store_as(out + layout.spikes, found);
  }
}

void add_spikes(const PackedWeight& weight, const LowBitFormat& format, Family family, uint32_t tile, const std::byte* prepared_row, float* y) noexcept {
  const std::byte* spikes = prepared_row + PreparedLayout::of(family, weight.cols).spikes;
  const auto count = load_as<uint32_t>(spikes);
  for (uint32_t i = 0; i < count; ++i) {
    const auto spike = load_as<Spike>(spikes + 4 + 8 * size_t{i});
    for (uint32_t lane = 0; lane < tile_rows(weight, tile); ++lane) y[lane] = std::fma(low_bit_value(weight, format, tile * kTileRows + lane, spike.column), spike.x, y[lane]);
  }
}

}  // namespace lutra::kernels
