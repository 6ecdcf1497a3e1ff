#include "kernels/read/read.h"

#include <cstring>

#ifdef LUTRA_X86
#include <immintrin.h>
#endif
#ifdef LUTRA_ARM64
#include <arm_neon.h>
#endif

namespace lutra::kernels {
namespace {

constexpr size_t kStep = 256;
constexpr size_t kAhead = 8192;  // of prefetches, as the kernels have it

uint64_t read_words(const std::byte* p, size_t bytes) {
  uint64_t sum[8] = {};
  for (size_t i = 0; i + kStep <= bytes; i += kStep) {
    for (size_t j = 0; j < kStep / 8; ++j) {
      uint64_t word;
      std::memcpy(&word, p + i + 8 * j, 8);
      sum[j % 8] += word;
    }
  }
  return sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

#ifdef LUTRA_X86
template <bool Prefetch>
LUTRA_TARGET_AVX2 uint64_t read_256(const std::byte* p, size_t bytes) {
  __m256i sum[8];
#pragma GCC unroll 8
  for (int j = 0; j < 8; ++j) sum[j] = _mm256_setzero_si256();
  for (size_t i = 0; i + kStep <= bytes; i += kStep) {
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      if (Prefetch && j % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(p + i + 32 * j + kAhead), _MM_HINT_T0);
      sum[j] = _mm256_add_epi64(sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(p + i + 32 * j)));
    }
  }
  uint64_t lanes[4], total = 0;
  for (const __m256i& one : sum) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), one);
    total += lanes[0] + lanes[1] + lanes[2] + lanes[3];
  }
  return total;
}

template <bool Prefetch>
LUTRA_TARGET_AVX512 uint64_t read_512(const std::byte* p, size_t bytes) {
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (size_t i = 0; i + kStep <= bytes; i += kStep) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      if constexpr (Prefetch) _mm_prefetch(reinterpret_cast<const char*>(p + i + 64 * j + kAhead), _MM_HINT_T0);
      sum[j] = _mm512_add_epi64(sum[j], _mm512_load_si512(p + i + 64 * j));
    }
  }
  uint64_t lanes[8], total = 0;
  _mm512_storeu_si512(lanes, _mm512_add_epi64(_mm512_add_epi64(sum[0], sum[1]), _mm512_add_epi64(sum[2], sum[3])));
  for (const uint64_t lane : lanes) total += lane;
  return total;
}
#endif

#ifdef LUTRA_ARM64
template <bool Prefetch>
uint64_t read_128(const std::byte* p, size_t bytes) {
  uint64x2_t sum[8];
  for (uint64x2_t& one : sum) one = vdupq_n_u64(0);
  for (size_t i = 0; i + kStep <= bytes; i += kStep) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      if (Prefetch && j % 4 == 0) __builtin_prefetch(p + i + 16 * j + kAhead);
      sum[j % 8] = vaddq_u64(sum[j % 8], vld1q_u64(reinterpret_cast<const uint64_t*>(p + i + 16 * j)));
    }
  }
  uint64_t total = 0;
  for (const uint64x2_t& one : sum) total += vaddvq_u64(one);
  return total;
}
#endif

constexpr ReadKernel kReads[] = {
    {"64 bits", Isa::kPortable, false, read_words},
#ifdef LUTRA_X86
    {"256 bits", Isa::kAvx2, false, read_256<false>},
    {"256 bits, prefetched", Isa::kAvx2, true, read_256<true>},
    {"512 bits", Isa::kAvx512, false, read_512<false>},
    {"512 bits, prefetched", Isa::kAvx512, true, read_512<true>},
#endif
#ifdef LUTRA_ARM64
    {"128 bits", Isa::kNeon, false, read_128<false>},
    {"128 bits, prefetched", Isa::kNeon, true, read_128<true>},
#endif
};

}  // namespace

std::span<const ReadKernel> read_kernels() noexcept { return kReads; }

}  // namespace lutra::kernels
