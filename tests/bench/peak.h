// The multiply-accumulate instructions of each tier at the rate that registers allow: what a matrix kernel could reach without loads, stores and loops.
#pragma once

#include <cstdint>
#include <span>

#include "base/cpu.h"

namespace lutra::bench {

enum class PeakKind {
  kInteger,  // the exact sequence of the tier's int8 kernels: the bar is a share of this
  kFloat,    // the fused multiply-add of the float forms
  kRaw       // a faster one that is not exact, for comparison only
};

struct Peak {
  Isa isa;
  PeakKind kind;
  const char* name;
  uint32_t macs;  // of one round
  void (*run)(uint64_t rounds);
};

/// Those of this build's architecture, by tier.
std::span<const Peak> peaks() noexcept;

}  // namespace lutra::bench
