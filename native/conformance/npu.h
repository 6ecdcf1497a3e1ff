// A QNN library that cases run on, behind the QNN client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "conformance/spec.h"
#include "qnn/graph.h"

namespace lutra::conformance {

class Npu {
 public:
  explicit Npu(std::shared_ptr<qnn::Device> device) : device_(std::move(device)) {}

  /// Builds the graph in a context of its own and runs it once; the outputs in the order of their creation. Throws Error.
  std::vector<Bytes> run(const GraphSpec& spec) const;

 private:
  std::shared_ptr<qnn::Device> device_;
};

}  // namespace lutra::conformance
