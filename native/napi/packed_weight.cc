#include "napi/packed_weight.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "base/crc32.h"
#include "base/f16.h"
#include "kernels/lowbit/lowbit.h"
#include "napi/weights.h"

namespace lutra::addon {
namespace {

using kernels::kTileRows;
using kernels::WeightType;

// --- groups of a packed weight ---------------------------------------------------------------------------------------------------------

/// A tile is a sequence of groups: chunks of 16 × 32 codes, then numbers of the 16 rows.
struct GroupLayout {
  size_t chunk_bytes, numbers, number_bytes;
  uint32_t chunks;  // of a whole group

  static GroupLayout of(WeightType type, uint32_t cols) noexcept {
    if (const auto format = kernels::low_bit_format(type)) {
      const size_t bytes = kernels::number_bytes(*format);
      return {kernels::chunk_bytes(format->bits), kernels::numbers_bytes(*format) / bytes, bytes, kernels::group_chunks(*format, cols)};
    }
    return {kTileRows * size_t{type == WeightType::kQ8_0 ? 32u : 16u}, kTileRows * size_t{type == WeightType::kQ4_1 ? 2u : 1u}, 2, 1};
  }
};

float number_at(const std::byte* numbers, const GroupLayout& layout, size_t i) noexcept {
  if (layout.number_bytes == 4) {
    float value;
    std::memcpy(&value, numbers + 4 * i, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, numbers + 2 * i, 2);
  return f16_to_f32(half);
}

// --- file ------------------------------------------------------------------------------------------------------------------------------

constexpr char kMagic[4] = {'L', 'U', 'L', 'W'};
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[4];
  uint32_t version, type, rows, cols;
  uint32_t crc;  // of all bytes with this word taken as zero
  uint64_t bytes;
  uint8_t zeros[32];  // so that the data are aligned
};
static_assert(sizeof(Header) == 64);

uint32_t checksum(Header header, std::span<const std::byte> data) noexcept {
  header.crc = 0;
  return crc32(data, crc32(std::as_bytes(std::span(&header, 1))));
}

[[noreturn]] void bad(const std::string& what) { throw Error(ErrorCode::kBadFile, "these bytes are no packed weight: " + what, "pack the weight again and keep the bytes of toBytes() whole"); }

}  // namespace

OwnedWeight allocate_weight(WeightType type, uint32_t rows, uint32_t cols) { return {type, rows, cols, AlignedBuffer(checked_packed_size(type, rows, cols))}; }

std::string weight_name(WeightType type) {
  if (const auto format = kernels::low_bit_format(type)) return kernels::low_bit_name(*format);
  switch (type) {
    case WeightType::kF32: return "f32";
    case WeightType::kF16: return "f16";
    case WeightType::kQ4_0: return "q4_0";
    case WeightType::kQ4_1: return "q4_1";
    case WeightType::kQ8_0: return "q8_0";
  }
  return std::to_string(static_cast<uint32_t>(type));
}

void check_numbers(const OwnedWeight& weight, ErrorCode code, const char* remedy) {
  const GroupLayout layout = GroupLayout::of(weight.type, weight.cols);
  const uint32_t chunks = kernels::chunks_of(weight.cols);
  const std::byte* at = weight.data.data();
  for (uint32_t tile = 0; tile < kernels::tile_count(weight.rows); ++tile) {
    for (uint32_t chunk = 0; chunk < chunks; chunk += layout.chunks) {
      at += std::min(layout.chunks, chunks - chunk) * layout.chunk_bytes;
      for (size_t i = 0; i < layout.numbers; ++i) {
        const float value = number_at(at, layout, i);
        if (std::isfinite(value)) continue;
        throw Error(code, std::string(i < kTileRows ? "the scale" : "the offset") + " of row " + std::to_string(tile * kTileRows + i % kTileRows) + ", columns from " +
                              std::to_string(chunk * kernels::kChunkCols) + ", is " + (std::isnan(value) ? "NaN" : "infinite") + " in " + weight_name(weight.type), remedy);
      }
      at += layout.numbers * layout.number_bytes;
    }
  }
}

size_t weight_file_size(const OwnedWeight& weight) noexcept { return sizeof(Header) + weight.data.size(); }

void write_weight_file(const OwnedWeight& weight, std::span<std::byte> out) noexcept {
  Header header{{}, kVersion, static_cast<uint32_t>(weight.type), weight.rows, weight.cols, 0, weight.data.size(), {}};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.crc = checksum(header, weight.data.bytes());
  std::memcpy(out.data(), &header, sizeof header);
  std::memcpy(out.data() + sizeof header, weight.data.data(), weight.data.size());
}

OwnedWeight read_weight_file(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < sizeof header) bad("they are " + std::to_string(bytes.size()) + ", fewer than its header has");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) bad("they do not begin with LULW");
  if (header.version != kVersion) bad("they are of version " + std::to_string(header.version) + ", not " + std::to_string(kVersion));
  const auto data = bytes.subspan(sizeof header);
  if (data.size() != header.bytes) bad("they hold " + std::to_string(data.size()) + " bytes of data, not " + std::to_string(header.bytes));
  if (header.crc != checksum(header, data)) bad("their checksum is wrong");
  const auto type = static_cast<WeightType>(header.type);
  const bool known = kernels::low_bit_format(type) || type == WeightType::kQ4_0 || type == WeightType::kQ4_1 || type == WeightType::kQ8_0;
  if (!known || header.rows == 0 || header.cols == 0 || data.empty() || kernels::packed_size(type, header.rows, header.cols) != data.size()) {
    bad("type " + std::to_string(header.type) + ", " + std::to_string(header.rows) + " x " + std::to_string(header.cols) + ", has not " + std::to_string(data.size()) + " bytes");
  }
  OwnedWeight weight = allocate_weight(type, header.rows, header.cols);
  std::memcpy(weight.data.data(), data.data(), data.size());
  check_numbers(weight, ErrorCode::kBadFile, "pack the weight again");
  return weight;
}

}  // namespace lutra::addon
