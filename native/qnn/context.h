// A context: the graphs that share a life and a binary.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "qnn/backend.h"

namespace lutra::qnn {

class Context {
 public:
  /// An empty context, for graphs to be built. Throws Error(kQnnCall).
  static std::shared_ptr<Context> create(std::shared_ptr<Device> device);

  /// The context that `binary` (from Context::binary of the same library build and SoC) holds; its graphs are got by Graph::retrieve. `binary` may be
  /// freed afterwards. Throws Error: kUnsupported (the library reads no binaries), kQnnCall.
  static std::shared_ptr<Context> from_binary(std::shared_ptr<Device> device, std::span<const std::byte> binary);

  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const std::shared_ptr<Device>& device() const noexcept { return device_; }
  const Backend& backend() const noexcept { return *device_->backend(); }
  abi::ContextHandle handle() const noexcept { return handle_.get(); }

  /// The compiled form of all graphs, which all have to be finalized. Throws Error: kUnsupported, kQnnCall.
  std::vector<std::byte> binary() const;

 private:
  Context(std::shared_ptr<Device> device, abi::ContextHandle handle);

  std::shared_ptr<Device> device_;
  Owned<abi::ContextTag> handle_;
};

}  // namespace lutra::qnn
