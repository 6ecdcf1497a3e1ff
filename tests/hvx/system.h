// What the Hexagon program has instead of a C library: Linux's system calls, and memory that ends where nothing may be read or written.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace lutra::hvx {

[[noreturn]] void leave(int status);
/// False when there is nothing more, or less.
bool read_all(void* to, size_t bytes);
void write_all(const void* from, size_t bytes);

/// A buffer whose last byte (rounded up to 128) is followed by a page without access, and whose first one by bytes that are checked.
class Guarded {
 public:
  /// Each number has memory of its own. Leaves the program when there is not enough.
  Guarded(uint32_t number, size_t bytes);
  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  /// Bytes before and behind the buffer that are no more what they were.
  uint32_t damage() const;

 private:
  uint8_t* data_;
  size_t bytes_;
};

}  // namespace lutra::hvx
