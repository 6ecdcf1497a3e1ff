#include "store/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "base/error.h"

namespace lutra::store {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

[[noreturn]] void fail(const std::string& path, const char* doing, int code) {
  const std::string reason = std::generic_category().message(code);
  if (code == ENOENT || code == ENOTDIR) {
    throw Error(ErrorCode::kNotFound, "there is no file '" + path + "'", "check the path; `lutra convert` writes a model directory");
  }
  throw Error(ErrorCode::kIo, std::string("cannot ") + doing + " '" + path + "': " + reason, "check that it is a file that this user may read");
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  // Without waiting: for a FIFO nobody may ever write.
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) fail(path, "open", errno);
  struct stat info {};
  if (fstat(file.get(), &info) != 0) fail(path, "examine", errno);
  if (S_ISDIR(info.st_mode)) fail(path, "read", EISDIR);
  if (!S_ISREG(info.st_mode)) fail(path, "map", EINVAL);
  if (info.st_size == 0) return;  // nothing to map; mmap refuses a length of 0
  void* map = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (map == MAP_FAILED) fail(path, "map", errno);
  data_ = static_cast<const std::byte*>(map);
  size_ = static_cast<size_t>(info.st_size);
  guard_ = BusGuard(bytes());
}

MappedFile::~MappedFile() { unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), guard_(std::move(other.guard_)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    unmap();
    path_ = std::move(other.path_);
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
    guard_ = std::move(other.guard_);
  }
  return *this;
}

void MappedFile::unmap() noexcept {
  guard_ = {};
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
  data_ = nullptr;
  size_ = 0;
}

void MappedFile::advise(Advice advice, size_t offset, size_t length) const noexcept {
  if (data_ == nullptr || offset >= size_) return;
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t begin = offset;
  size_t end = offset + std::min(length, size_ - offset);
  if (advice == Advice::kDontNeed) {
    // Inwards: the pages at the edges also hold somebody else's bytes. The last page of the file has no neighbour.
    begin = (begin + page - 1) / page * page;
    if (end != size_) end = end / page * page;
  } else {
    begin = begin / page * page;
  }
  if (begin >= end) return;
  const int how = advice == Advice::kDontNeed ? MADV_DONTNEED : advice == Advice::kWillNeed ? MADV_WILLNEED : MADV_SEQUENTIAL;
  (void)madvise(const_cast<std::byte*>(data_) + begin, end - begin, how);
}

}  // namespace lutra::store
