// Memory that the processor and the DSP share, from FastRPC's library.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dynamic_library.h"

namespace lutra::qnn {

/// libcdsprpc.so and its three functions (rpcmem_alloc, rpcmem_free, rpcmem_to_fd). Immutable, so usable from every thread.
class RpcMemory : public std::enable_shared_from_this<RpcMemory> {
 public:
  /// One allocation; frees itself. Zeros are not promised.
  class Buffer {
   public:
    Buffer(std::shared_ptr<const RpcMemory> from, void* data, size_t bytes, int descriptor) noexcept;
    ~Buffer();
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&&) = delete;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    std::span<std::byte> bytes() const noexcept { return {static_cast<std::byte*>(data_), size_}; }
    /// What a library registers (memRegister); owned by FastRPC.
    int descriptor() const noexcept { return descriptor_; }

   private:
    std::shared_ptr<const RpcMemory> from_;
    void* data_;
    size_t size_;
    int descriptor_;
  };

  /// The first library of `candidates` (paths; or names, which the system's loader looks for: the only way to a vendor's library for an app on Android) that can be opened. Throws Error:
  /// kLibraryNotFound with what the loader said of each, kUnsupported when the one that opens lacks a function.
  static std::shared_ptr<const RpcMemory> open(std::span<const std::string> candidates);

  /// At most 2 GiB - 1. Throws Error(kOutOfMemory) when there is none or it has no descriptor.
  Buffer allocate(size_t bytes) const;

  /// The candidate that was opened.
  const std::string& source() const noexcept { return source_; }

 private:
  using AllocFn = void*(int heap, unsigned flags, int bytes);
  using FreeFn = void(void*);
  using DescriptorFn = int(void*);

  RpcMemory(DynamicLibrary library, std::string source);

  DynamicLibrary library_;
  std::string source_;
  AllocFn* alloc_ = nullptr;
  FreeFn* free_ = nullptr;
  DescriptorFn* descriptor_ = nullptr;
};

}  // namespace lutra::qnn
