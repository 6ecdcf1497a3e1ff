// The node forms of printed plans.
#pragma once

#include <set>
#include <string>

namespace lutra::conformance {

/// The forms (see form_of) of all NPU nodes in the printed plans (*.txt) of `directory`. Throws std::runtime_error when a node names an unknown tensor.
std::set<std::string> forms_of_plans(const std::string& directory);

}  // namespace lutra::conformance
