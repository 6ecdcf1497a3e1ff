// Packing of codes into the canonical layout, and the way back one row at a time.
#include <algorithm>

#include "kernels/lowbit/lowbit_internal.h"

namespace lutra::kernels {
namespace {

void put_nibble(std::byte* chunk, Nibble at, uint32_t value) noexcept { chunk[at.byte] |= static_cast<std::byte>(at.high ? value << 4 : value); }
uint32_t get_nibble(const std::byte* chunk, Nibble at) noexcept { return std::to_integer<uint32_t>(chunk[at.byte]) >> (at.high ? 4 : 0) & 15u; }

/// Codes of up to 32 columns of one row.
void pack_codes(uint8_t bits, uint32_t row, const uint8_t* codes, uint32_t count, std::byte* chunk) noexcept {
  for (uint32_t col = 0; col < count; ++col) {
    if (bits == 4) {
      put_nibble(chunk, code_nibble(row, col), codes[col] & 15u);
    } else {
      for (uint32_t plane = 0; plane < bits; ++plane) put_nibble(chunk, plane_nibble(bits, row, col / 4, plane), (codes[col] >> plane & 1u) << col % 4);
    }
  }
}

uint32_t unpack_code(uint8_t bits, uint32_t row, uint32_t col, const std::byte* chunk) noexcept {
  if (bits == 4) return get_nibble(chunk, code_nibble(row, col));
  uint32_t code = 0;
  for (uint32_t plane = 0; plane < bits; ++plane) code |= (get_nibble(chunk, plane_nibble(bits, row, col / 4, plane)) >> col % 4 & 1u) << plane;
  return code;
}

void put_number(const LowBitFormat& format, std::byte* numbers, uint32_t row, float value) noexcept {
  if (format.group == 0) store_as(numbers + 4 * row, value);
  else store_as(numbers + 2 * row, f32_to_f16(value));
}

}  // namespace

std::string low_bit_name(const LowBitFormat& format) {
  static constexpr const char* kOffsets[] = {"", "m", "z"};
  const std::string group = format.group == 0 ? "row" : "g" + std::to_string(format.group);
  return "w" + std::to_string(format.bits) + group + kOffsets[static_cast<size_t>(format.offset)];
}

size_t low_bit_packed_size(const LowBitFormat& format, uint32_t rows, uint32_t cols) noexcept { return tile_count(rows) * tile_bytes(format, cols); }

void pack_low_bit(const UnpackedWeight& weight, std::span<std::byte> out) noexcept {
  const LowBitFormat& format = weight.format;
  const uint32_t chunks = chunks_of(weight.cols), per_group = group_chunks(format, weight.cols);
  const uint32_t groups = chunks == 0 ? 0 : (chunks + per_group - 1) / per_group;
  std::fill(out.begin(), out.end(), std::byte{0});
  std::byte* to = out.data();
  for (uint32_t tile = 0; tile < tile_count(weight.rows); ++tile) {
    const uint32_t present = std::min(kTileRows, weight.rows - tile * kTileRows);
    for (uint32_t group = 0; group < groups; ++group) {
      const uint32_t begin = group * per_group, end = std::min(chunks, begin + per_group);
      std::byte* numbers = to + (end - begin) * chunk_bytes(format.bits);
      for (uint32_t r = 0; r < present; ++r) {
        const size_t row = size_t{tile} * kTileRows + r;
        for (uint32_t chunk = begin; chunk < end; ++chunk) {
          const uint32_t col = chunk * kChunkCols;
          pack_codes(format.bits, r, weight.codes + row * weight.cols + col, std::min(kChunkCols, weight.cols - col), to + (chunk - begin) * chunk_bytes(format.bits));
        }
        put_number(format, numbers, r, weight.scales[row * groups + group]);
        if (format.offset != Offset::kNone) put_number(format, numbers + kTileRows * number_bytes(format), r, weight.offsets[row * groups + group]);
      }
      to = numbers + numbers_bytes(format);
    }
  }
}

float low_bit_value(const PackedWeight& weight, const LowBitFormat& format, uint32_t row, uint32_t col) noexcept {
  const uint32_t chunks = chunks_of(weight.cols), per_group = group_chunks(format, weight.cols), lane = row % kTileRows;
  const uint32_t group = col / kChunkCols / per_group, begin = group * per_group, end = std::min(chunks, begin + per_group);
  const std::byte* from = low_bit_tile(weight, format, row / kTileRows) + group * (per_group * chunk_bytes(format.bits) + numbers_bytes(format));
  const std::byte* numbers = from + (end - begin) * chunk_bytes(format.bits);
  const uint32_t code = unpack_code(format.bits, lane, col % kChunkCols, from + (col / kChunkCols - begin) * chunk_bytes(format.bits));
  const float d = group_number(format, numbers, lane);
  if (format.offset == Offset::kNone) {
    const Symmetric symmetric = Symmetric::of(format.bits);
    return static_cast<float>(symmetric.k * static_cast<int32_t>(code) - symmetric.z) * d;
  }
  const float offset = group_number(format, numbers + kTileRows * number_bytes(format), lane);
  return format.offset == Offset::kMinimum ? std::fma(static_cast<float>(code), d, offset) : (static_cast<float>(code) - offset) * d;
}

float low_bit_element(const PackedWeight& weight, uint32_t row, uint32_t col) noexcept { return low_bit_value(weight, *low_bit_format(weight.type), row, col); }

bool is_low_bit(WeightType type) noexcept { return low_bit_format(type).has_value(); }

void dequantize_low_bit_row(const PackedWeight& weight, uint32_t row, float* out) noexcept {
  const LowBitFormat format = *low_bit_format(weight.type);
  for (uint32_t col = 0; col < weight.cols; ++col) out[col] = low_bit_value(weight, format, row, col);
}

}  // namespace lutra::kernels
