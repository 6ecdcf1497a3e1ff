// One case on one library: the verdict, and the figures behind it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "conformance/cases.h"
#include "qnn/backend.h"

namespace lutra::conformance {

/// A known exception (Case::exception) that is only coarse counts as kOk.
enum class Verdict { kOk, kRefused, kWrong };
const char* verdict_name(Verdict verdict);  // "ok", "refused", "wrong"

struct Result {
  Verdict verdict = Verdict::kOk;
  Figures figures;      // the worst of all outputs; meaningless when refused
  std::string message;  // of a refusal: what the library said; of a wrong result: what is out of bounds
  double ms = 0;        // from the empty context to the result
};

/// A case whose graph and reference are made, ready to run.
class Trial {
 public:
  explicit Trial(const Case& c) : case_(c), spec_(c.graph()) {}

  /// The forms (see qnn::form_of) of the graph's nodes, each once.
  std::vector<std::string> forms() const;

  /// Builds, finalizes and executes the graph in a context of its own. Every Error of that is a refusal.
  Result run(std::shared_ptr<qnn::Device> device, const Subject& subject) const;

 private:
  Case case_;
  GraphSpec spec_;
};

}  // namespace lutra::conformance
