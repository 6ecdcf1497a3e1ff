#include "qnn/status.h"

#include <algorithm>
#include <iterator>

namespace lutra::qnn {
namespace {

constexpr const char* kInstall =
    "check that all files of the runtime come from one release and lie together, and on a phone that ADSP_LIBRARY_PATH names the folder of the "
    "Skel library";
constexpr const char* kRebuild = "delete the cached context binary so that it is built again for this library and SoC";
constexpr const char* kRestart = "free the context and the device and create them anew; if it happens again, restart the process";

// Sorted by code.
constexpr StatusInfo kTable[] = {
    {0, "SUCCESS", "no error", ""},
    {1000, "COMMON_NOT_SUPPORTED", "the library does not support this call", ""},
    {1002, "COMMON_MEM_ALLOC", "memory ran out, or an op needs more on-chip memory than there is, or a tensor is described inconsistently",
     "use smaller graphs or fewer of them per context"},
    {1003, "COMMON_SYSTEM", "the driver reported a failure", kRestart},
    {1004, "COMMON_INVALID_ARGUMENT", "an argument is invalid", ""},
    {1005, "COMMON_NOT_PERMITTED", "the operation is not permitted", ""},
    {1006, "COMMON_PLATFORM_NOT_SUPPORTED", "this platform is not supported", "use the host NPU on this machine"},
    {1007, "COMMON_SYSTEM_COMMUNICATION", "the connection to the DSP broke or a call to it timed out", kRestart},
    {1008, "COMMON_INCOMPATIBLE_BINARIES", "the runtime's files do not belong together", kInstall},
    {1009, "COMMON_LOADING_BINARIES", "a file of the runtime cannot be loaded", kInstall},
    {1010, "COMMON_RESOURCE_UNAVAILABLE", "a resource of the device is in use", "close other users of the NPU"},
    {1011, "COMMON_SYSTEM_COMMUNICATION_FATAL", "the connection to the DSP is lost", "restart the process"},
    {1100, "COMMON_GENERAL", "general failure, or a call made before backend and device exist", ""},
    {2000, "PROPERTY_UNKNOWN_KEY", "the library does not know this property", ""},
    {3110, "OP_PACKAGE_VALIDATION_FAILURE", "the backend does not support this op with these types, shapes, encodings or parameters",
     "another precision of this linear may be supported; a newer SoC or runtime may support it too"},
    {4000, "BACKEND_CANNOT_INITIALIZE", "the backend cannot start on this machine", kInstall},
    {4003, "BACKEND_NOT_SUPPORTED", "the backend does not support this call", ""},
    {4004, "BACKEND_INVALID_ARGUMENT", "an argument is invalid", ""},
    {4005, "BACKEND_OP_PACKAGE", "the op package cannot be used", ""},
    {4006, "BACKEND_OP_PACKAGE", "the op package cannot be used", ""},
    {4007, "BACKEND_OP_PACKAGE", "the op package cannot be used", ""},
    {4009, "BACKEND_DUPLICATE", "the op package exists already", ""},
    {4011, "BACKEND_INVALID_HANDLE", "the backend handle is not valid", ""},
    {5000, "CONTEXT_INVALID_ARGUMENT", "an argument is invalid; for a binary: it was made for another release or device", kRebuild},
    {5002, "CONTEXT_INVALID_HANDLE", "the context handle is not valid", ""},
    {5003, "CONTEXT_NOT_FINALIZED", "a graph of the context is not finalized", "finalize every graph before the binary is asked for"},
    {5004, "CONTEXT_BINARY_VERSION", "the context binary has another format version", kRebuild},
    {5005, "CONTEXT_CREATE_FROM_BINARY", "the context binary is damaged, or made for another SoC or release", kRebuild},
    {5008, "CONTEXT_BINARY_CONFIGURATION", "the context binary does not fit the configuration", kRebuild},
    {5010, "CONTEXT_INVALID_CONFIG", "the context configuration is invalid", ""},
    {5011, "CONTEXT_BINARY_SUBOPTIMAL", "the context binary would run slower than one made for this SoC", kRebuild},
    {6000, "GRAPH_INVALID_ARGUMENT", "an argument is invalid, for instance the number or size of the tensors", ""},
    {6001, "GRAPH_INVALID_HANDLE", "the graph handle is not valid", ""},
    {6003, "GRAPH_INVALID_NAME", "no graph has this name, or the name is taken", ""},
    {6004, "GRAPH_INVALID_TENSOR", "a tensor is not one of this graph", ""},
    {6005, "GRAPH_INVALID_OP_CONFIG", "the node is malformed", ""},
    {6007, "GRAPH_UNCONNECTED_NODE", "a node is not connected", ""},
    {6020, "GRAPH_CREATE_FAILED", "the graph cannot be created", ""},
    {6021, "GRAPH_OPTIMIZATION_FAILED", "the graph compiler failed", ""},
    {6022, "GRAPH_FINALIZE_FAILED", "the graph cannot be finalized", ""},
    {6023, "GRAPH_NOT_FINALIZED", "the graph is not finalized", ""},
    {6024, "GRAPH_FINALIZED", "the graph is finalized already", ""},
    {6031, "GRAPH_ABORTED", "the execution was aborted", ""},
    {6033, "GRAPH_TIMED_OUT", "the execution timed out", kRestart},
    {6039, "GRAPH_INVALID_CONTEXT", "the graph's context is not valid", ""},
    {7001, "TENSOR_INVALID_HANDLE", "the handle that the tensor belongs to is not valid", ""},
    {7002, "TENSOR_DOES_NOT_EXIST", "there is no such tensor", ""},
    {7003, "TENSOR_ALREADY_EXISTS", "a tensor of this name exists already", "give every tensor of a graph its own name"},
    {7004, "TENSOR_INVALID_PARAM", "the tensor is described inconsistently", ""},
    {7005, "TENSOR_UNSUPPORTED_PARAM", "the backend does not support a tensor like this", ""},
    {7006, "TENSOR_NAME_HASH_COLLISION", "the tensor's name collides with another one", "rename the tensor"},
    {7007, "TENSOR_INCOMPATIBLE_UPDATE", "the tensor cannot be updated like this", ""},
    {8000, "MEM_INVALID_ARGUMENT", "an argument is invalid", ""},
    {8001, "MEM_INVALID_HANDLE", "the memory handle is not valid", ""},
    {8002, "MEM_ALREADY_REGISTERED", "the memory is registered already", ""},
    {8003, "MEM_MAPPING", "the memory cannot be mapped into the device", ""},
    {8004, "MEM_SHAPE", "the memory does not fit the tensor's shape", ""},
    {8005, "MEM_UNSUPPORTED_TYPE", "this kind of memory is not supported", ""},
    {14000, "DEVICE_INVALID_HANDLE", "the device handle is not valid", ""},
    {14001, "DEVICE_INVALID_CONFIG",
     "the device configuration is refused: the SoC id is unknown to this release, or on a phone the DSP library was not found",
     "give a SoC id that the library knows (57 is SM8650, 69 SM8750, 87 SM8850), and on a phone check ADSP_LIBRARY_PATH"},
    {14002, "DEVICE_HARDWARE_UNAVAILABLE", "the hardware is not available", "use the host NPU on this machine"},
    {14003, "DEVICE_ASSOCIATED_TO_CONTEXT", "a context still uses the device", ""},
    {30000, "SYSTEM_INVALID_HANDLE", "the system handle is not valid", ""},
    {30002, "SYSTEM_OPERATION_FAILED", "the system library failed", ""},
    {30010, "SYSTEM_MALFORMED_BINARY", "the binary is malformed", kRebuild},
};
static_assert(std::is_sorted(std::begin(kTable), std::end(kTable), [](const StatusInfo& a, const StatusInfo& b) { return a.code < b.code; }));

const char* range_name(uint32_t code) noexcept {
  switch (code / 1000) {
    case 1: return "COMMON";
    case 2: return "PROPERTY";
    case 3: return "OP_PACKAGE";
    case 4: return "BACKEND";
    case 5: return "CONTEXT";
    case 6: return "GRAPH";
    case 7: return "TENSOR";
    case 8: return "MEM";
    case 9: return "SIGNAL";
    case 10: return "ERROR";
    case 11: return "LOG";
    case 12: return "PROFILE";
    case 13: return "PERF_INFRASTRUCTURE";
    case 14: return "DEVICE";
    case 15: return "GLOBAL_CONFIG";
    default: return code >= 30000 && code < 50000 ? "SYSTEM" : "UNKNOWN";
  }
}

/// Libraries log lists over many indented lines: runs of white space become one space.
std::string one_line(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!space) out += c;
    if (space && !out.empty() && out.back() != ' ') out += ' ';
  }
  return out;
}

}  // namespace

StatusInfo status_info(abi::Status status) noexcept {
  const auto code = static_cast<uint32_t>(status & 0xFFFF);
  const auto* entry = std::lower_bound(std::begin(kTable), std::end(kTable), code, [](const StatusInfo& a, uint32_t b) { return a.code < b; });
  // A status that is not zero is an error even when its low bits are.
  if (entry != std::end(kTable) && entry->code == code && (code != 0 || status == 0)) return *entry;
  return {code, range_name(code), "not a documented code", ""};
}

std::string describe_status(abi::Status status) {
  const StatusInfo info = status_info(status);
  return std::to_string(info.code) + " " + info.name + " (" + info.meaning + ")";
}

void throw_status(ErrorCode code, std::string_view call, std::string_view subject, abi::Status status, std::span<const std::string> log_lines) {
  std::string message = "QNN ";
  message += call;
  if (!subject.empty()) message.append(" of ").append(subject);
  message += " failed: error " + describe_status(status);
  for (const std::string& line : log_lines) {
    if (const std::string text = one_line(line); !text.empty()) message += "\n  the library says: " + text;
  }
  throw Error(code, message, status_info(status).remedy);
}

}  // namespace lutra::qnn
