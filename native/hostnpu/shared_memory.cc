#include "hostnpu/shared_memory.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMostDimensions = 64;  // that are read before the shape is checked

/// The part of a descriptor's file that a registration is.
struct Source {
  int fd;
  uint64_t offset;
  uint64_t limit;  // bytes of the buffer that the client speaks of
};

Source source_of(const abi::MemDescriptor& descriptor) {
  switch (descriptor.type) {
    case abi::MemType::kIon: return {descriptor.ion.fd, 0, UINT64_MAX};
    case abi::MemType::kDmaBuf: return {descriptor.dma_buf.fd, 0, UINT64_MAX};
    case abi::MemType::kCustom: {
      if (descriptor.custom == nullptr) throw Failure(abi::kMemInvalidArgument, "a custom memory descriptor is NULL");
      const auto& custom = *static_cast<const abi::HtpMemDescriptor*>(descriptor.custom);
      if (custom.type != abi::kHtpSharedBuffer) throw Failure(abi::kMemUnsupportedType, "custom memory of type " + std::to_string(custom.type) + " is not supported, only shared buffers are");
      return {custom.shared_buffer.fd, custom.shared_buffer.offset, custom.size};
    }
  }
  throw Failure(abi::kMemUnsupportedType, "memory of type " + std::to_string(static_cast<uint32_t>(descriptor.type)) + " is not supported, only ION, DMA_BUF and CUSTOM are");
}

/// Size of what `fd` stands for. A DMA buffer has no size of its own but an end.
uint64_t size_of(int fd) {
  struct stat status {};
  if (fstat(fd, &status) != 0) throw Failure(abi::kMemMapping, "file descriptor " + std::to_string(fd) + " is not open");
  if (status.st_size > 0) return static_cast<uint64_t>(status.st_size);
  const off_t end = lseek(fd, 0, SEEK_END);
  return end < 0 ? 0 : static_cast<uint64_t>(end);
}

}  // namespace

SharedMemory::SharedMemory(const void* owner, const abi::MemDescriptor& descriptor) : Object(kKind), owner_(owner), dtype_(descriptor.dtype) {
  TensorInfo info;
  info.name = "registered memory";
  info.dtype = descriptor.dtype;
  if (descriptor.shape.rank == 0 || descriptor.shape.rank > kMostDimensions || descriptor.shape.dims == nullptr) throw Failure(abi::kMemShape, "registered memory has rank " + std::to_string(descriptor.shape.rank));
  info.dims.assign(descriptor.shape.dims, descriptor.shape.dims + descriptor.shape.rank);
  try {
    check_tensor(info);
  } catch (const Failure& failure) {
    throw Failure(abi::kMemShape, failure.what());
  }
  bytes_ = info.bytes();
  const Source source = source_of(descriptor);
  if (source.offset % data_type_size(dtype_) != 0) throw Failure(abi::kMemShape, "registered memory begins at byte " + std::to_string(source.offset) + ", inside an element");
  const uint64_t size = std::min(size_of(source.fd), source.limit);
  if (source.offset > size || bytes_ > size - source.offset) {
    throw Failure(abi::kMemMapping, "registered memory of " + std::to_string(bytes_) + " bytes at byte " + std::to_string(source.offset) + " does not lie in a buffer of " + std::to_string(size));
  }
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE)), before = source.offset % page;
  mapped_ = bytes_ + before;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_SHARED, source.fd, static_cast<off_t>(source.offset - before));
  if (mapping_ == MAP_FAILED) throw Failure(abi::kMemMapping, "file descriptor " + std::to_string(source.fd) + " cannot be mapped: " + std::strerror(errno));
  data_ = static_cast<std::byte*>(mapping_) + before;
}

SharedMemory::~SharedMemory() { munmap(mapping_, mapped_); }

void SharedMemory::require_fits(const TensorInfo& tensor) const {
  const bool plain = dtype_ == abi::DataType::kUint8 || dtype_ == abi::DataType::kInt8;
  if (!plain && dtype_ != tensor.dtype) {
    throw Failure(abi::kMemInvalidArgument, "'" + tensor.name + "' is " + data_type_name(tensor.dtype) + " but its memory was registered as " + data_type_name(dtype_));
  }
  if (bytes_ < tensor.bytes()) {
    throw Failure(abi::kMemShape, "'" + tensor.name + "' needs " + std::to_string(tensor.bytes()) + " bytes but its memory was registered with " + std::to_string(bytes_));
  }
}

}  // namespace lutra::hostnpu
