// Portable kernels of low-bit weights: what every tier's int32 sums must equal.
#include <algorithm>
#include <bit>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

inline float round_even(float v) noexcept {
  constexpr float kMagic = 0x1.8p23f;
  return (v + kMagic) - kMagic;
}

// --- tables ----------------------------------------------------------------------------------------------------------------------------

/// Entry e of a quad: x_j counts as it is where bit j of e is set, negated otherwise.
float entry(const float* x, uint32_t e) noexcept {
  const auto term = [&](uint32_t j) { return (e >> j & 1u) != 0 ? x[j] : -x[j]; };
  return (term(0) + term(1)) + (term(2) + term(3));
}

void build_chunk(const float* x, std::byte* row, const TableLayout& layout, uint32_t chunk) noexcept {
  std::byte* tables = row + size_t{chunk} * kQuads * kTableBytes;
  float largest = 0.0f, sum = 0.0f;
  bool finite = true;
  for (uint32_t quad = 0; quad < kQuads; ++quad) {
    const float* q = x + 4 * quad;
    const float magnitude = (std::abs(q[0]) + std::abs(q[1])) + (std::abs(q[2]) + std::abs(q[3]));
    finite = finite && magnitude <= std::numeric_limits<float>::max();
    largest = std::max(largest, magnitude);
    sum += (q[0] + q[1]) + (q[2] + q[3]);
  }
  float half_step = 0.0f;
  if (!finite || largest < kSmallestMaximum) {
    if (!finite) half_step = std::numeric_limits<float>::quiet_NaN();
    std::memset(tables, 0, kQuads * kTableBytes);
  } else {
    half_step = largest / 254.0f;
    const float inverse = 127.0f / largest;
    for (uint32_t quad = 0; quad < kQuads; ++quad) {
      // The upper half mirrors the lower one.
      for (uint32_t e = 0; e < 8; ++e) {
        const auto code = static_cast<int32_t>(round_even(entry(x + 4 * quad, e) * inverse));
        store_as(tables + quad * kTableBytes + e, static_cast<int8_t>(code));
        store_as(tables + quad * kTableBytes + 15 - e, static_cast<int8_t>(-code));
      }
    }
  }
  store_as(row + layout.half_step + 4 * chunk, half_step);
  store_as(row + layout.sum + 4 * chunk, sum);
}

void build_tables(const float* x, uint32_t cols, std::byte* out) {
  const TableLayout layout = TableLayout::of(cols);
  for (uint32_t chunk = 0; chunk < cols / kChunkCols; ++chunk) build_chunk(x + chunk * kChunkCols, out, layout, chunk);
  if (const uint32_t left = cols % kChunkCols; left != 0) build_chunk(PaddedBlock(x + (cols - left), left).x, out, layout, cols / kChunkCols);
}

// --- sums ------------------------------------------------------------------------------------------------------------------------------

/// Sums of one chunk for 16 rows.
using Sums = int32_t (*)(uint8_t bits, const std::byte* chunk, const std::byte* prepared_row, uint32_t index, uint32_t lane);

uint32_t nibble(const std::byte* chunk, Nibble at) noexcept { return std::to_integer<uint32_t>(chunk[at.byte]) >> (at.high ? 4 : 0) & 15u; }

int32_t lut_sum(uint8_t bits, const std::byte* chunk, const std::byte* row, uint32_t index, uint32_t lane) {
  const std::byte* tables = row + size_t{index} * kQuads * kTableBytes;
  int32_t sum = 0;
  for (uint32_t quad = 0; quad < kQuads; ++quad) {
    for (uint32_t plane = 0; plane < bits; ++plane) {
      sum += load_as<int8_t>(tables + quad * kTableBytes + nibble(chunk, plane_nibble(bits, lane, quad, plane))) * (1 << plane);
    }
  }
  return sum;
}

int32_t dot_sum(uint8_t bits, const std::byte* chunk, const std::byte* row, uint32_t index, uint32_t lane) {
  int32_t sum = 0;
  for (uint32_t col = 0; col < kChunkCols; ++col) {
    int32_t code = 0;
    if (bits == 4) code = static_cast<int32_t>(nibble(chunk, code_nibble(lane, col)));
    else for (uint32_t plane = 0; plane < bits; ++plane) code |= static_cast<int32_t>(nibble(chunk, plane_nibble(bits, lane, col / 4, plane)) >> col % 4 & 1u) << plane;
    sum += code * load_as<int8_t>(row + size_t{index} * kChunkCols + col);
  }
  return sum;
}

/// What a chunk's sums are multiplied with, and Σ x.
struct ChunkScale {
  float step, sum;
};

ChunkScale chunk_scale(Family family, const std::byte* row, uint32_t cols, uint32_t index) noexcept {
  if (family == Family::kLut) {
    const TableLayout layout = TableLayout::of(cols);
    return {load_as<float>(row + layout.half_step + 4 * index), load_as<float>(row + layout.sum + 4 * index)};
  }
  const QuantizedLayout layout = QuantizedLayout::of(cols);
  return {load_as<float>(row + layout.scale + 4 * index), load_as<float>(row + layout.scaled_sum + 4 * index)};
}

// --- products --------------------------------------------------------------------------------------------------------------------------

/// Output of one row of weights and one of activations.
float product(const PackedWeight& weight, const LowBitFormat& format, Family family, Sums sums, const std::byte* tile, uint32_t lane, const std::byte* row) noexcept {
  const uint32_t chunks = chunks_of(weight.cols), per_group = group_chunks(format, weight.cols);
  const GroupTerms terms = GroupTerms::of(format, family);
  float y = 0.0f;
  for (uint32_t begin = 0; begin < chunks; begin += per_group) {
    const uint32_t end = std::min(chunks, begin + per_group);
    float total = 0.0f, x = 0.0f;
    for (uint32_t index = begin; index < end; ++index, tile += chunk_bytes(format.bits)) {
      const ChunkScale scale = chunk_scale(family, row, weight.cols, index);
      total = std::fma(scale.step, static_cast<float>(sums(format.bits, tile, row, index, lane)), total);
      x += scale.sum;
    }
    const float d = group_number(format, tile, lane);
    const float offset = format.offset == Offset::kNone ? 0.0f : group_number(format, tile + kTileRows * number_bytes(format), lane);
    const float c = format.offset == Offset::kZero ? terms.c - offset : terms.c;
    y = std::fma(d, std::fma(c, x, total), y);
    if (format.offset == Offset::kMinimum) y = std::fma(offset, x, y);
    tile += numbers_bytes(format);
  }
  return terms.f * y;
}

template <Family F, Sums S>
void run(const PackedWeight& weight, const std::byte* prepared, uint32_t n, uint32_t tile_begin, uint32_t tile_end, float* y, size_t y_stride) {
  const LowBitFormat format = *low_bit_format(weight.type);
  for (uint32_t tile = tile_begin; tile < tile_end; ++tile) {
    for (uint32_t r = 0; r < n; ++r) {
      const std::byte* row = prepared + r * PreparedLayout::of(F, weight.cols).stride;
      float* out = y + r * y_stride + size_t{tile} * kTileRows;
      for (uint32_t lane = 0; lane < tile_rows(weight, tile); ++lane) out[lane] = product(weight, format, F, S, low_bit_tile(weight, format, tile), lane, row);
      add_spikes(weight, format, F, tile, row, out);
    }
  }
}

template <Family F, Sums S>
void accumulators(const PackedWeight& weight, const std::byte* prepared, uint32_t row, uint32_t tile, int32_t* out) {
  const LowBitFormat format = *low_bit_format(weight.type);
  const std::byte* activations = prepared + row * PreparedLayout::of(F, weight.cols).stride;
  for_each_chunk(weight, format, tile, [&](uint32_t index, const std::byte* chunk) {
    for (uint32_t lane = 0; lane < kTileRows; ++lane) out[index * kTileRows + lane] = S(format.bits, chunk, activations, index, lane);
  });
}

void quantize(const float* x, uint32_t cols, std::byte* out) { kPortableLinear.quantize_rows(x, cols, 1, cols, out); }

}  // namespace

const LowBitKernel kPortableLut = {"lut-portable", Family::kLut, Isa::kPortable, takes_planes, prepared_size<Family::kLut>, prepare<Family::kLut, build_tables>,
                                   run<Family::kLut, lut_sum>, accumulators<Family::kLut, lut_sum>};
const LowBitKernel kPortableDot = {"dot-portable", Family::kDot, Isa::kPortable, takes_all, prepared_size<Family::kDot>, prepare<Family::kDot, quantize>,
                                   run<Family::kDot, dot_sum>, accumulators<Family::kDot, dot_sum>};

}  // namespace lutra::kernels
