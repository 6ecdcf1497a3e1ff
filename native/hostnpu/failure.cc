#include "hostnpu/failure.h"

namespace lutra::hostnpu {

const char* error_message(abi::Status status) noexcept {
  switch (static_cast<uint32_t>(status & 0xffff)) {
    case abi::kSuccess: return "success";
    case abi::kNotSupported: return "not supported by the host NPU";
    case abi::kMemAlloc: return "out of memory";
    case abi::kInvalidArgument: return "invalid argument";
    case abi::kGeneral: return "general error";
    case abi::kPropertyUnknownKey: return "unknown property";
    case abi::kOpPackageValidationFailure: return "the op does not take this node; the log has the reason and what it takes";
    case abi::kBackendCannotInitialize: return "the backend cannot start";
    case abi::kBackendInvalidArgument: return "backend: invalid argument";
    case abi::kBackendInvalidHandle: return "backend: invalid handle";
    case abi::kContextInvalidArgument: return "context: invalid argument";
    case abi::kContextInvalidHandle: return "context: invalid handle";
    case abi::kContextNotFinalized: return "context: a graph is not finalized";
    case abi::kContextBinaryVersion: return "context: the binary is of another version";
    case abi::kContextCreateFromBinary: return "context: the binary is foreign, truncated or damaged";
    case abi::kContextInvalidConfig: return "context: invalid configuration";
    case abi::kContextAborted: return "context: aborted by its signal";
    case abi::kContextTimedOut: return "context: timed out";
    case abi::kGraphInvalidArgument: return "graph: invalid argument";
    case abi::kGraphInvalidHandle: return "graph: invalid handle";
    case abi::kGraphInvalidName: return "graph: invalid name";
    case abi::kGraphInvalidTensor: return "graph: invalid tensor";
    case abi::kGraphInvalidOpConfig: return "graph: invalid op configuration";
    case abi::kGraphUnconnectedNode: return "graph: a tensor is read before a node has written it";
    case abi::kGraphFinalizeFailed: return "graph: finalize failed";
    case abi::kGraphNotFinalized: return "graph: not finalized";
    case abi::kGraphFinalized: return "graph: already finalized";
    case abi::kGraphSignalInUse: return "graph: another call uses the signal";
    case abi::kGraphAborted: return "graph: aborted";
    case abi::kGraphProfileInUse: return "graph: the profile is bound to another graph";
    case abi::kGraphTimedOut: return "graph: timed out";
    case abi::kGraphDisabled: return "graph: left out when its context was made from a binary";
    case abi::kTensorInvalidHandle: return "tensor: invalid handle";
    case abi::kTensorDoesNotExist: return "tensor: does not exist";
    case abi::kTensorAlreadyExists: return "tensor: a tensor of that name exists";
    case abi::kTensorInvalidParam: return "tensor: invalid description";
    case abi::kTensorUnsupportedParam: return "tensor: a description that the host NPU does not support";
    case abi::kMemInvalidArgument: return "memory: invalid argument";
    case abi::kMemInvalidHandle: return "memory: invalid handle";
    case abi::kMemMapping: return "memory: the descriptor cannot be mapped so far";
    case abi::kMemShape: return "memory: invalid shape";
    case abi::kMemUnsupportedType: return "memory: this kind of memory is not supported";
    case abi::kSignalInUse: return "signal: in use";
    case abi::kSignalIdle: return "signal: no call uses it";
    case abi::kSignalInvalidArgument: return "signal: invalid argument";
    case abi::kSignalInvalidHandle: return "signal: invalid handle";
    case abi::kSignalIncompatibleType: return "signal: not configured to abort";
    case abi::kErrorInvalidArgument: return "error: invalid argument";
    case abi::kErrorInvalidHandle: return "error: unknown code or text";
    case abi::kProfileInvalidHandle: return "profile: invalid handle";
    case abi::kProfileInUse: return "profile: bound to a graph";
    case abi::kDeviceInvalidHandle: return "device: invalid handle";
    case abi::kSystemInvalidHandle: return "system: invalid handle";
    case abi::kSystemOperationFailed: return "system: operation failed";
    case abi::kSystemMalformedBinary: return "system: malformed binary";
    default: return nullptr;
  }
}

namespace {

struct LastFailure {
  abi::Status status = abi::kSuccess;
  std::string what;
};
thread_local LastFailure last_failure;

}  // namespace

void remember_failure(abi::Status status, const char* what) noexcept {
  last_failure.status = abi::kSuccess;
  try {
    last_failure.what = what;
    last_failure.status = status;
  } catch (...) {
    last_failure.what.clear();
  }
}

std::string verbose_message(abi::Status status) {
  const char* known = error_message(status);
  if (known == nullptr) return {};
  std::string text = known;
  const abi::Status code = status & 0xffff;
  if (code != abi::kSuccess && last_failure.status == code) text += ": " + last_failure.what;
  return text;
}

}  // namespace lutra::hostnpu
