// Memory that shows reads and writes past its end.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <span>

namespace lutra {

/// Memory whose last byte is followed by a page that must not be touched.
class Guarded {
 public:
  explicit Guarded(size_t bytes) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), pages_((bytes + page_ - 1) / page_ * page_ + page_), bytes_(bytes) {
    base_ = static_cast<std::byte*>(mmap(nullptr, pages_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    mprotect(base_ + pages_ - page_, page_, PROT_NONE);
  }
  ~Guarded() { munmap(base_, pages_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  std::span<std::byte> bytes() { return {base_ + pages_ - page_ - bytes_, bytes_}; }

 private:
  size_t page_, pages_, bytes_;
  std::byte* base_;
};

}  // namespace lutra
