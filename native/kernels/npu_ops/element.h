// Element types of NPU tensors that the kernels compute on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lutra::kernels {

enum class Element : uint8_t { kF32, kF16, kU8, kS8, kU16, kS16 };
inline constexpr size_t kElementCount = 6;

/// Bytes of one element.
constexpr size_t element_size(Element type) noexcept {
  switch (type) {
    case Element::kF32: return 4;
    case Element::kF16:
    case Element::kU16:
    case Element::kS16: return 2;
    case Element::kU8:
    case Element::kS8: return 1;
  }
  return 1;
}

constexpr bool is_quantized(Element type) noexcept { return type != Element::kF32 && type != Element::kF16; }

/// Smallest and largest code of a quantised type.
constexpr int32_t lowest_code(Element type) noexcept { return type == Element::kS8 ? -128 : type == Element::kS16 ? -32768 : 0; }
constexpr int32_t highest_code(Element type) noexcept {
  switch (type) {
    case Element::kS8: return 127;
    case Element::kU16: return 65535;
    case Element::kS16: return 32767;
    default: return 255;
  }
}
constexpr bool is_16_bit(Element type) noexcept { return type == Element::kU16 || type == Element::kS16; }

}  // namespace lutra::kernels
