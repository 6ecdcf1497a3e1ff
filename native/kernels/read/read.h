// Plain reads of memory: what the speed of kernels that stream weights is measured against.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/cpu.h"

namespace lutra::kernels {

struct ReadKernel {
  const char* name;  // "256 bits", "256 bits, prefetched"
  Isa isa;
  bool prefetches;  // up to 8 KB behind the end
  /// Loads `bytes`, whole 256 of them, from `p`, which is aligned to 64. Returns the sum of all 64-bit words, which keeps a compiler from leaving the loads out.
  uint64_t (*run)(const std::byte* p, size_t bytes);
};

/// All of this build; the fastest differs from machine to machine.
std::span<const ReadKernel> read_kernels() noexcept;

}  // namespace lutra::kernels
