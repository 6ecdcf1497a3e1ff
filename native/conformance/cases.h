// The table: every node form that plans emit, and those that the op set has beyond them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "conformance/compare.h"
#include "conformance/spec.h"

namespace lutra::conformance {

enum class Expected {
  kOk,       // accepted, and within the bound
  kRefused,  // an error, at the latest when the graph is finalized
};

/// The library that a case runs on, as far as what is expected depends on it.
struct Subject {
  bool host = false;  // the host NPU; otherwise Qualcomm's HTP
  uint32_t arch = 75;  // of the DSP: 68, 69, 73, 75, 79, 81
};

struct Case {
  std::string name;  // letters, digits and underscores
  Bound bound;
  /// Describes the graph, all of whose outputs the bound holds for, with data from that seed.
  std::function<GraphSpec(uint32_t seed)> build;
  /// Data with a few values that are orders of magnitude larger than the rest; see against_reference.
  bool outliers = false;
  /// Why Qualcomm's runtime need not keep the bound; empty when it must. The host NPU must in any case. Never on a form that plans emit, and on less
  /// than a tenth of all cases.
  std::string exception = {};
  /// A wider bound of Qualcomm's runtime than of the host NPU, where its functions are tables.
  std::optional<Bound> qualcomm = {};
  /// Qualcomm's runtime crashes or does not take it (see `exception`): it is not run there in the process of a test.
  bool only_host = false;
  /// The op itself gives many lowest or highest values.
  bool saturates = false;
  /// What share of its codes a quantised result spans at least.
  double span = 0.7;
  Expected expected = Expected::kOk;
  /// Of a refused case: why the host NPU takes it all the same, and computes it right; empty when it refuses it too.
  std::string host_takes = {};
  /// What to use instead of a form that Qualcomm's runtime gets wrong: a sentence.
  std::string remedy = {};
  /// Qualcomm's runtime refuses it for older DSPs.
  uint32_t oldest_arch = 68;

  Expected expected_of(const Subject& subject) const;
  Bound bound_of(const Subject& subject) const;
  /// The graph with the case's own data, which follows from the name: other cases come and go without changing it.
  GraphSpec graph() const;
};

// One file a family.
void add_elementwise_cases(std::vector<Case>& cases);
void add_shape_cases(std::vector<Case>& cases);
void add_cast_cases(std::vector<Case>& cases);
void add_linear_cases(std::vector<Case>& cases);
void add_norm_cases(std::vector<Case>& cases);
void add_reduce_cases(std::vector<Case>& cases);
void add_spatial_cases(std::vector<Case>& cases);
void add_trap_cases(std::vector<Case>& cases);
void add_refused_cases(std::vector<Case>& cases);

/// What an op reaches that is neither a product nor a table: one step, 1e-6, exact for integers.
Bound usual_bound(DT dtype);
/// "128x576"
std::string shape_name(const Dims& dims);

std::vector<Case> all_cases();

}  // namespace lutra::conformance
