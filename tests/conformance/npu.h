// The two libraries that the cases run on, both behind the QNN client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "qnn/graph.h"
#include "spec.h"

namespace lutra::conformance {

/// The SoC that Qualcomm's runtime compiles for: SM8650, HTP v75.
inline constexpr uint32_t kSoc = 57;

class Npu {
 public:
  /// The host NPU that is linked in.
  static Npu host();
  /// The library file `path`, for kSoc.
  static Npu qualcomm(const std::string& path);

  /// Builds the graph in a context of its own and runs it once; the outputs in the order of their creation. Throws Error.
  std::vector<Bytes> run(const GraphSpec& spec) const;

 private:
  explicit Npu(std::shared_ptr<qnn::Device> device) : device_(std::move(device)) {}

  std::shared_ptr<qnn::Device> device_;
};

}  // namespace lutra::conformance
