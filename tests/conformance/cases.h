// The table: every node form that plans emit, and those that the op set has beyond them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "compare.h"
#include "spec.h"

namespace lutra::conformance {

struct Case {
  std::string name;  // letters, digits and underscores
  Bound bound;
  /// Describes the graph, all of whose outputs the bound holds for.
  std::function<GraphSpec()> build;
  /// Data with a few values that are orders of magnitude larger than the rest; see against_reference.
  bool outliers = false;
  /// Why Qualcomm's runtime need not keep the bound; empty when it must. The host NPU must in any case. Never on a form that plans emit, and on less
  /// than a tenth of all cases.
  std::string exception = {};
};

std::vector<Case> all_cases();

}  // namespace lutra::conformance
