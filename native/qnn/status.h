// QNN error codes as words, and the one place where a failed call becomes a lutra::Error.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "qnn/abi.h"

namespace lutra::qnn {

/// What is known about an error code. All strings are static; `remedy` may be empty.
struct StatusInfo {
  uint32_t code;
  const char* name;
  const char* meaning;
  const char* remedy;
};

/// The entry for the low 16 bits of `status`; an unknown code gives the name of its range, or "UNKNOWN".
StatusInfo status_info(abi::Status status) noexcept;

/// "1002 COMMON_MEM_ALLOC (not enough memory …)".
std::string describe_status(abi::Status status);

/// Throws Error(code) that says which `call` failed on what `subject` (may be empty), the QNN code, its meaning and the library's `log_lines`.
[[noreturn]] void throw_status(ErrorCode code, std::string_view call, std::string_view subject, abi::Status status,
                               std::span<const std::string> log_lines = {});

}  // namespace lutra::qnn
