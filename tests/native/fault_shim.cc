// Makes calls of the C library fail: LD_PRELOAD=libfault_shim.so LUTRA_FAULT=CALL:HOW:WHEN:PATH.
//
// CALL: open, read, write, mmap, rename, fsync or dlopen, with all their variants. HOW: EIO, ENOMEM, ENOSPC or EACCES, or SHORT for read and write, which then move
// one byte at most. WHEN: 3 is the third call whose file's path contains PATH, 3+ that and all after it. Nothing is done without the variable.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace {

struct Fault {
  std::string call, path;
  int error = 0;  // 0: short
  long first = 0;
  bool on = false, all = false;
  std::atomic<long> seen{0};
};

int error_named(std::string_view name) {
  if (name == "EIO") return EIO;
  if (name == "ENOMEM") return ENOMEM;
  if (name == "ENOSPC") return ENOSPC;
  if (name == "EACCES") return EACCES;
  return 0;
}

Fault& fault() {
  static Fault& the = *[] {
    auto* made = new Fault;
    const char* text = std::getenv("LUTRA_FAULT");
    if (text == nullptr) return made;
    std::string parts[4];
    const std::string_view all = text;
    size_t from = 0;
    for (int i = 0; i < 4; ++i) {
      const size_t end = i == 3 ? all.size() : std::min(all.find(':', from), all.size());
      parts[i] = all.substr(std::min(from, all.size()), end - std::min(from, all.size()));
      from = end + 1;
    }
    made->call = parts[0];
    made->error = error_named(parts[1]);
    made->first = std::strtol(parts[2].c_str(), nullptr, 10);
    made->all = parts[2].ends_with('+');
    made->path = parts[3];
    made->on = true;
    return made;
  }();
  return the;
}

/// Whether this call is one that fails.
bool fails(std::string_view call, std::string_view path) {
  Fault& f = fault();
  if (!f.on || f.call != call || path.find(f.path) == std::string_view::npos) return false;
  const long now = ++f.seen;
  return now == f.first || (f.all && now > f.first);
}

bool fails(std::string_view call, int fd) {
  if (!fault().on || fault().call != call) return false;
  char link[40], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path);
  return length > 0 && fails(call, std::string_view(path, static_cast<size_t>(length)));
}

template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

ssize_t refuse() {
  errno = fault().error;
  return -1;
}

/// Bytes that a call may move, 0 when it fails.
size_t allowed(const char* call, int fd, size_t size) {
  if (!fails(call, fd)) return size;
  return fault().error == 0 ? std::min<size_t>(size, 1) : 0;
}

}  // namespace

#define LUTRA_TRANSFER(name, call, pointer)                                                  \
  extern "C" ssize_t name(int fd, pointer buffer, size_t size) {                             \
    static auto* const next = real<ssize_t(int, pointer, size_t)>(#name);                    \
    const size_t bytes = allowed(call, fd, size);                                            \
    return bytes == 0 && size != 0 ? refuse() : next(fd, buffer, bytes);                     \
  }
#define LUTRA_TRANSFER_AT(name, call, pointer)                                               \
  extern "C" ssize_t name(int fd, pointer buffer, size_t size, off_t offset) {               \
    static auto* const next = real<ssize_t(int, pointer, size_t, off_t)>(#name);             \
    const size_t bytes = allowed(call, fd, size);                                            \
    return bytes == 0 && size != 0 ? refuse() : next(fd, buffer, bytes, offset);             \
  }
#define LUTRA_OPEN(name)                                                                     \
  extern "C" int name(const char* path, int flags, ...) {                                    \
    static auto* const next = real<int(const char*, int, ...)>(#name);                       \
    va_list rest;                                                                            \
    va_start(rest, flags);                                                                   \
    const unsigned mode = va_arg(rest, unsigned);                                            \
    va_end(rest);                                                                            \
    return fails("open", path) ? static_cast<int>(refuse()) : next(path, flags, mode);       \
  }
#define LUTRA_MMAP(name)                                                                     \
  extern "C" void* name(void* at, size_t size, int protection, int flags, int fd, off_t offset) noexcept { \
    static auto* const next = real<void*(void*, size_t, int, int, int, off_t)>(#name);       \
    if (fd < 0 || !fails("mmap", fd)) return next(at, size, protection, flags, fd, offset);  \
    errno = fault().error;                                                                   \
    return MAP_FAILED;                                                                       \
  }
#define LUTRA_SYNC(name)                                                                     \
  extern "C" int name(int fd) {                                                              \
    static auto* const next = real<int(int)>(#name);                                         \
    return fails("fsync", fd) ? static_cast<int>(refuse()) : next(fd);                       \
  }

LUTRA_TRANSFER(read, "read", void*)
LUTRA_TRANSFER(write, "write", const void*)
LUTRA_TRANSFER_AT(pread, "read", void*)
LUTRA_TRANSFER_AT(pread64, "read", void*)
LUTRA_TRANSFER_AT(pwrite, "write", const void*)
LUTRA_TRANSFER_AT(pwrite64, "write", const void*)
LUTRA_OPEN(open)
LUTRA_OPEN(open64)
LUTRA_MMAP(mmap)
LUTRA_MMAP(mmap64)
LUTRA_SYNC(fsync)
LUTRA_SYNC(fdatasync)

extern "C" ssize_t writev(int fd, const iovec* pieces, int count) {
  static auto* const next = real<ssize_t(int, const iovec*, int)>("writev");
  if (!fails("write", fd)) return next(fd, pieces, count);
  return fault().error == 0 && count > 0 ? ::write(fd, pieces[0].iov_base, std::min<size_t>(pieces[0].iov_len, 1)) : refuse();
}

extern "C" int rename(const char* from, const char* to) noexcept {
  static auto* const next = real<int(const char*, const char*)>("rename");
  return fails("rename", from) ? static_cast<int>(refuse()) : next(from, to);
}

extern "C" void* dlopen(const char* path, int flags) noexcept {
  static auto* const next = real<void*(const char*, int)>("dlopen");
  // Not nullptr: the caller asks dlerror for the reason.
  return next(path != nullptr && fails("dlopen", path) ? "/proc/no/such/library.so" : path, flags);
}
