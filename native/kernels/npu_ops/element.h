// Element types of NPU tensors that the kernels compute on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lutra::kernels {

enum class Element : uint8_t { kF32, kF16, kU8, kS8, kU16 };
inline constexpr size_t kElementCount = 5;

/// Bytes of one element.
constexpr size_t element_size(Element type) noexcept {
  switch (type) {
    case Element::kF32: return 4;
    case Element::kF16:
    case Element::kU16: return 2;
    case Element::kU8:
    case Element::kS8: return 1;
  }
  return 1;
}

constexpr bool is_quantized(Element type) noexcept { return type != Element::kF32 && type != Element::kF16; }

/// Smallest and largest code of a quantised type.
constexpr int32_t lowest_code(Element type) noexcept { return type == Element::kS8 ? -128 : 0; }
constexpr int32_t highest_code(Element type) noexcept { return type == Element::kS8 ? 127 : type == Element::kU16 ? 65535 : 255; }

}  // namespace lutra::kernels
