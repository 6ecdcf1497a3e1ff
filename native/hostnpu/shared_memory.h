// Memory that the client shares with the library: a file descriptor, mapped.
#pragma once

#include <cstddef>

#include "hostnpu/failure.h"
#include "hostnpu/object.h"
#include "hostnpu/tensor.h"

namespace lutra::hostnpu {

/// One registration. Executions that use it keep it alive, so it may be deregistered meanwhile. The client may close its descriptor, but must not shorten what it stands for.
class SharedMemory : public Object {
 public:
  static constexpr Kind kKind = Kind::kMemory;
  /// `owner`: the context. Throws Failure (memory codes).
  SharedMemory(const void* owner, const abi::MemDescriptor& descriptor);
  ~SharedMemory() override;

  const void* owner() const noexcept { return owner_; }
  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }
  /// Throws Failure when the tensor is of another element type, unless the memory was registered as plain bytes, or larger than the memory.
  void require_fits(const TensorInfo& tensor) const;

 private:
  const void* owner_;
  abi::DataType dtype_;
  size_t bytes_ = 0;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace lutra::hostnpu
