// What all tests of the program share: the two libraries, and the table that is printed on demand.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "npu.h"

namespace lutra::conformance {

class Libraries : public ::testing::Environment {
 public:
  /// Fails without LUTRA_QNN_LIBRARY, so that nobody takes silence for success; with LUTRA_QNN_OPTIONAL=1 only the host NPU is then compared with the
  /// reference.
  void SetUp() override;
  void TearDown() override;

  static const Npu& host() { return *host_; }
  /// nullptr when Qualcomm's library is not there and need not be.
  static const Npu* qualcomm() { return qualcomm_.get(); }
  /// LUTRA_CONFORMANCE_TABLE=1: one row per case on standard output.
  static bool table();

 private:
  static inline std::unique_ptr<Npu> host_;
  static inline std::unique_ptr<Npu> qualcomm_;
};

}  // namespace lutra::conformance
