// The one error type that crosses into JavaScript.
//
// Every failure in native code is thrown as lutra::Error. The N-API layer turns it into a JavaScript `LutraError` with the same
// stable `code`, the sentence `what()` and the `remedy`.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lutra {

/// Stable error codes. The string (error_code_name) is part of the public interface: add, never rename.
enum class ErrorCode {
  kInvalidArgument,   // LUTRA_INVALID_ARGUMENT: a value given by the caller is wrong
  kNotFound,          // LUTRA_NOT_FOUND: a file or tensor does not exist
  kIo,                // LUTRA_IO: reading or mapping failed
  kBadFile,           // LUTRA_BAD_FILE: a file is truncated, foreign or inconsistent
  kBadPlan,           // LUTRA_BAD_PLAN: the plan does not validate
  kUnsupported,       // LUTRA_UNSUPPORTED: well-formed, but not something that lutra does
  kContextFull,       // LUTRA_CONTEXT_FULL: more tokens than the context holds
  kLibraryNotFound,   // LUTRA_LIBRARY_NOT_FOUND: the QNN library cannot be opened
  kNotQnn,            // LUTRA_NOT_QNN: the library does not speak the QNN interface
  kQnnVersion,        // LUTRA_QNN_VERSION: the library is too old or too new
  kQnnCall,           // LUTRA_QNN_CALL: a QNN call failed
  kQnnNode,           // LUTRA_QNN_NODE: a node was refused by the backend
  kQuarantined,       // LUTRA_QNN_QUARANTINED: the library crashed, hung or computed wrong numbers before, and is not used
  kNpuHung,           // LUTRA_NPU_HUNG: a call into the library does not return
  kDisposed,          // LUTRA_DISPOSED: the object was disposed of
  kBusy,              // LUTRA_BUSY: another call is under way
  kAborted,           // LUTRA_ABORTED: the caller asked to stop
  kOutOfMemory,       // LUTRA_OUT_OF_MEMORY
  kInternal,          // LUTRA_INTERNAL: a defect in lutra
};

/// "LUTRA_INVALID_ARGUMENT" and so on; a static string.
const char* error_code_name(ErrorCode code) noexcept;

class Error : public std::runtime_error {
 public:
  /// `message`: what was wrong, with the values. `remedy`: what the user can do about it (may be empty).
  Error(ErrorCode code, const std::string& message, std::string remedy = {})
      : std::runtime_error(message), code_(code), remedy_(std::move(remedy)) {}

  ErrorCode code() const noexcept { return code_; }
  const std::string& remedy() const noexcept { return remedy_; }

 private:
  ErrorCode code_;
  std::string remedy_;
};

}  // namespace lutra
