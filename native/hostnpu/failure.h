// How code of the host NPU fails: a status of the interface and a sentence for the log. Never leaves the library (see guarded() in calls.h).
#pragma once

#include <stdexcept>
#include <string>

#include "qnn/abi.h"

namespace lutra::hostnpu {

namespace abi = qnn::abi;

class Failure : public std::runtime_error {
 public:
  Failure(abi::ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  abi::ErrorCode code() const noexcept { return code_; }

 private:
  abi::ErrorCode code_;
};

/// A sentence for an error code, static; NULL for codes that the host NPU does not use.
const char* error_message(abi::Status status) noexcept;

/// Keeps why a call of this thread failed, for verbose_message().
void remember_failure(abi::Status status, const char* what) noexcept;
/// The sentence for the code, and why the last call of this thread failed if it failed with that code. Empty for codes that the host NPU does not use.
std::string verbose_message(abi::Status status);

}  // namespace lutra::hostnpu
