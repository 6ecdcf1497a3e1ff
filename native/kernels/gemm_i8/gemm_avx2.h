// What the two AVX2 files share.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline

namespace lutra::kernels {

inline constexpr int kRound256 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Stores the first `count` (1 … 8) of eight elements of `Size` bytes, which `elements` begins with.
template <size_t Size>
LUTRA_INLINE256 void store_elements(std::byte* y, __m128i elements, uint32_t count) {
  alignas(16) std::byte bytes[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(bytes), elements);
  if (count == 8) {
    std::memcpy(y, bytes, 8 * Size);
  } else {
    std::memcpy(y, bytes, count * Size);
  }
}

}  // namespace lutra::kernels
