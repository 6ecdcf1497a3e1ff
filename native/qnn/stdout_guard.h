// Keeps what a foreign library prints off standard output.
#pragma once

namespace lutra::qnn {

/// While it lives, everything that the process writes to file descriptor 1 goes to file descriptor 2. Qualcomm's runtime prints a line when it is loaded, which
/// would spoil the output of a program that prints JSON. Affects all threads; guards of several threads wait for each other. Does nothing when
/// the descriptors cannot be duplicated.
class StdoutGuard {
 public:
  explicit StdoutGuard(bool active = true);
  ~StdoutGuard();
  StdoutGuard(const StdoutGuard&) = delete;
  StdoutGuard& operator=(const StdoutGuard&) = delete;

 private:
  int saved_ = -1;
  bool locked_ = false;
};

}  // namespace lutra::qnn
