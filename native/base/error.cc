#include "base/error.h"

namespace lutra {

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "LUTRA_INVALID_ARGUMENT";
    case ErrorCode::kNotFound: return "LUTRA_NOT_FOUND";
    case ErrorCode::kIo: return "LUTRA_IO";
    case ErrorCode::kBadFile: return "LUTRA_BAD_FILE";
    case ErrorCode::kBadPlan: return "LUTRA_BAD_PLAN";
    case ErrorCode::kUnsupported: return "LUTRA_UNSUPPORTED";
    case ErrorCode::kContextFull: return "LUTRA_CONTEXT_FULL";
    case ErrorCode::kLibraryNotFound: return "LUTRA_LIBRARY_NOT_FOUND";
    case ErrorCode::kNotQnn: return "LUTRA_NOT_QNN";
    case ErrorCode::kQnnVersion: return "LUTRA_QNN_VERSION";
    case ErrorCode::kQnnCall: return "LUTRA_QNN_CALL";
    case ErrorCode::kQnnNode: return "LUTRA_QNN_NODE";
    case ErrorCode::kQuarantined: return "LUTRA_QNN_QUARANTINED";
    case ErrorCode::kNpuHung: return "LUTRA_NPU_HUNG";
    case ErrorCode::kDisposed: return "LUTRA_DISPOSED";
    case ErrorCode::kBusy: return "LUTRA_BUSY";
    case ErrorCode::kAborted: return "LUTRA_ABORTED";
    case ErrorCode::kOutOfMemory: return "LUTRA_OUT_OF_MEMORY";
    case ErrorCode::kInternal: return "LUTRA_INTERNAL";
  }
  return "LUTRA_INTERNAL";
}

}  // namespace lutra
