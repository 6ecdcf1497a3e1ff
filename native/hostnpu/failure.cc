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
    case abi::kGraphInvalidArgument: return "graph: invalid argument";
    case abi::kGraphInvalidHandle: return "graph: invalid handle";
    case abi::kGraphInvalidName: return "graph: invalid name";
    case abi::kGraphInvalidTensor: return "graph: invalid tensor";
    case abi::kGraphInvalidOpConfig: return "graph: invalid op configuration";
    case abi::kGraphUnconnectedNode: return "graph: a tensor is read before a node has written it";
    case abi::kGraphFinalizeFailed: return "graph: finalize failed";
    case abi::kGraphNotFinalized: return "graph: not finalized";
    case abi::kGraphFinalized: return "graph: already finalized";
    case abi::kTensorInvalidHandle: return "tensor: invalid handle";
    case abi::kTensorDoesNotExist: return "tensor: does not exist";
    case abi::kTensorAlreadyExists: return "tensor: a tensor of that name exists";
    case abi::kTensorInvalidParam: return "tensor: invalid description";
    case abi::kTensorUnsupportedParam: return "tensor: a description that the host NPU does not support";
    case abi::kMemUnsupportedType: return "memory: only plain buffers are supported";
    case abi::kDeviceInvalidHandle: return "device: invalid handle";
    case abi::kSystemInvalidHandle: return "system: invalid handle";
    case abi::kSystemOperationFailed: return "system: operation failed";
    case abi::kSystemMalformedBinary: return "system: malformed binary";
    default: return nullptr;
  }
}

}  // namespace lutra::hostnpu
