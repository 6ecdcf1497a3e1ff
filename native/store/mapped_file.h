// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "store/bus_guard.h"

namespace lutra::store {

/// Move-only. The bytes stay valid at one address until the object dies. Where the file shrinks meanwhile, or cannot be read, zeros are read instead: see torn().
class MappedFile {
 public:
  /// Throws Error(kNotFound) when there is no such file and Error(kIo) when it cannot be read; both name the path.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const noexcept { return path_; }
  size_t size() const noexcept { return size_; }  // bytes
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// Bytes were asked for that the file does not have any more: what was made of them since the file was mapped may be wrong.
  bool torn() const noexcept { return guard_.torn(); }

  enum class Advice {
    kDontNeed,    // drop the pages that lie wholly inside the range from this process; they come back from the file when touched
    kWillNeed,    // read the range ahead
    kSequential,  // the range will be read from front to back
  };
  /// Advice on [offset, offset + length), clipped to the file. Only a hint: never fails.
  void advise(Advice advice, size_t offset, size_t length) const noexcept;

 private:
  void unmap() noexcept;

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  BusGuard guard_;
};

}  // namespace lutra::store
