#include "qnn/context.h"

#include <string>
#include <utility>

#include "base/error.h"

namespace lutra::qnn {
namespace {

// More than any library can load; a size beyond it is a defect, and not to be allocated.
constexpr uint64_t kLargestBinary = uint64_t{1} << 32;

[[noreturn]] void no_binaries(const Backend& backend) {
  throw Error(ErrorCode::kUnsupported, "'" + backend.library().info().source + "' neither writes nor reads context binaries",
              "build the graphs at every start instead");
}

}  // namespace

Context::Context(std::shared_ptr<Device> device, abi::ContextHandle handle)
    : device_(std::move(device)),
      handle_(own(handle, [free = backend().api().context_free](abi::ContextHandle h) { free(h, nullptr); })) {}

std::shared_ptr<Context> Context::create(std::shared_ptr<Device> device) {
  const Backend& backend = *device->backend();
  abi::ContextHandle handle = nullptr;
  const CallGuard guard;
  const abi::Status status = backend.api().context_create(backend.handle(), device->handle(), nullptr, &handle);
  if (status != 0) backend.fail(ErrorCode::kQnnCall, "contextCreate", "", status);
  return std::shared_ptr<Context>(new Context(std::move(device), handle));
}

std::shared_ptr<Context> Context::from_binary(std::shared_ptr<Device> device, std::span<const std::byte> binary) {
  const Backend& backend = *device->backend();
  const Api& api = backend.api();
  if (api.context_create_from_binary == nullptr) no_binaries(backend);
  abi::ContextHandle handle = nullptr;
  const CallGuard guard;
  const abi::Status status =
      api.context_create_from_binary(backend.handle(), device->handle(), nullptr, binary.data(), binary.size(), &handle, nullptr);
  if (status != 0) {
    backend.fail(ErrorCode::kQnnCall, "contextCreateFromBinary", "a binary of " + std::to_string(binary.size()) + " bytes", status);
  }
  return std::shared_ptr<Context>(new Context(std::move(device), handle));
}

std::vector<std::byte> Context::binary() const {
  const Api& api = backend().api();
  if (api.context_get_binary_size == nullptr || api.context_get_binary == nullptr) no_binaries(backend());
  uint64_t size = 0;
  const CallGuard guard;
  abi::Status status = api.context_get_binary_size(handle(), &size);
  if (status != 0) backend().fail(ErrorCode::kQnnCall, "contextGetBinarySize", "", status);
  if (size > kLargestBinary) {
    throw Error(ErrorCode::kQnnCall, "'" + backend().library().info().source + "' says that its context binary has " + std::to_string(size) + " bytes", "build the graphs at every start instead");
  }
  std::vector<std::byte> bytes(size);
  uint64_t written = 0;
  status = api.context_get_binary(handle(), bytes.data(), size, &written);
  if (status != 0) backend().fail(ErrorCode::kQnnCall, "contextGetBinary", "", status);
  if (written > size) {
    throw Error(ErrorCode::kQnnCall, "contextGetBinary says that it wrote " + std::to_string(written) + " bytes into " + std::to_string(size));
  }
  bytes.resize(written);
  return bytes;
}

}  // namespace lutra::qnn
