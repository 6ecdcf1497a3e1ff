// The tiers that a kernel family has variants for, to run a test on each.
#pragma once

#include <span>
#include <vector>

#include "base/cpu.h"

namespace lutra {

template <class Variant>
std::vector<Isa> tiers_of(std::span<const Variant> variants) {
  std::vector<Isa> tiers;
  for (const Variant& one : variants) tiers.push_back(one.isa);
  return tiers;
}

}  // namespace lutra
