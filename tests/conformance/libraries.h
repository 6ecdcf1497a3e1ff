// What all tests of the program share: the two libraries, what is compared with what, and the table that is printed on demand.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conformance/compare.h"
#include "conformance/npu.h"

namespace lutra::conformance {

class Libraries : public ::testing::Environment {
 public:
  /// Fails without LUTRA_QNN_LIBRARY, so that nobody takes silence for success; with LUTRA_QNN_OPTIONAL=1 only the host NPU is then compared with the
  /// reference.
  void SetUp() override;
  void TearDown() override;

  /// The outputs of a graph; `qualcomm` is absent when the library is not there and need not be.
  struct Results {
    std::vector<Bytes> host;
    std::optional<std::vector<Bytes>> qualcomm;
  };
  static Results run(const GraphSpec& spec, bool only_host = false);

  /// Whether Qualcomm's runtime is named by LUTRA_QNN_LIBRARY.
  static bool has_qualcomm();

 private:
  static inline std::unique_ptr<Npu> host_;
  static inline std::unique_ptr<Npu> qualcomm_;
};

struct Comparison {
  const char* who;
  Figures figures;
  bool with_qualcomm;
};

/// With LUTRA_CONFORMANCE_TABLE=1, one row of a Markdown table on standard output: name, bound, the figures of each comparison, a remark.
void print_row(const std::string& name, const std::string& bound, Bound kind, const std::vector<Comparison>& comparisons, const std::string& remark);

}  // namespace lutra::conformance
