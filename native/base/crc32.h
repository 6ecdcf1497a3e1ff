// CRC-32 as zlib and Ethernet have it: finds every damage of up to 32 bits in a row.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lutra {

/// Of `bytes` after what gave `before`: crc32(ab) = crc32(b, crc32(a)). Not for security, and not for gigabytes.
uint32_t crc32(std::span<const std::byte> bytes, uint32_t before = 0) noexcept;

}  // namespace lutra
