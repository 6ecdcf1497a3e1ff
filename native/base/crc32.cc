#include "base/crc32.h"

#include <array>

namespace lutra {
namespace {

constexpr uint32_t kPolynomial = 0xEDB88320u;  // reflected

constexpr std::array<uint32_t, 256> kTable = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < table.size(); ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = value & 1 ? value >> 1 ^ kPolynomial : value >> 1;
    table[i] = value;
  }
  return table;
}();

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t before) noexcept {
  uint32_t state = ~before;
  for (const std::byte byte : bytes) state = state >> 8 ^ kTable[(state ^ static_cast<uint32_t>(byte)) & 0xff];
  return ~state;
}

}  // namespace lutra
