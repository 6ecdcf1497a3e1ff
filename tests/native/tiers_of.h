// The tiers that a kernel family has variants for, to run a test on each, and how much of it.
#pragma once

#include <span>
#include <vector>

#include "base/cpu.h"

namespace lutra {

/// Built for the emulated processors of scripts/arm64, where doubles take fifty times as long and every test runs three times: large shapes are left out.
#ifdef LUTRA_ARM64
inline constexpr bool kEmulated = true;
#else
inline constexpr bool kEmulated = false;
#endif

template <class Variant>
std::vector<Isa> tiers_of(std::span<const Variant> variants) {
  std::vector<Isa> tiers;
  for (const Variant& one : variants) tiers.push_back(one.isa);
  return tiers;
}

}  // namespace lutra
