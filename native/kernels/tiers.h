// Which variant of a kernel family runs on a tier.
#pragma once

#include <span>

#include "base/cpu.h"

namespace lutra::kernels {

/// The variant of the highest tier that `isa` includes. `variants` are those of one family, lowest tier first, portable foremost.
template <class Variant>
const Variant& variant_of(std::span<const Variant> variants, Isa isa) noexcept {
  const Variant* best = &variants.front();
  for (const Variant& one : variants) {
    if (isa_includes(isa, one.isa)) best = &one;
  }
  return *best;
}

}  // namespace lutra::kernels
