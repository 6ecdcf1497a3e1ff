#include "qnn/stdout_guard.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <mutex>

namespace lutra::qnn {
namespace {

// The descriptor is the process's, so its guard has to be as well.
std::mutex& descriptor_mutex() {
  static auto& mutex = *new std::mutex;
  return mutex;
}

}  // namespace

StdoutGuard::StdoutGuard(bool active) {
  if (!active) return;
  descriptor_mutex().lock();
  locked_ = true;
  std::fflush(stdout);  // what was printed before belongs to standard output
  saved_ = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
  if (saved_ >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
    close(saved_);
    saved_ = -1;
  }
}

StdoutGuard::~StdoutGuard() {
  if (saved_ >= 0) {
    std::fflush(stdout);
    dup2(saved_, STDOUT_FILENO);
    close(saved_);
  }
  if (locked_) descriptor_mutex().unlock();
}

}  // namespace lutra::qnn
