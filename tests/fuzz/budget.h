// What one input may cost. Every target runs its input inside a Budget; whoever exceeds it is stopped at that allocation, so that the stack in the report is the culprit's.
#pragma once

#include <cstddef>

namespace lutra::fuzz {

/// The rule for readers: four times the input, and `kBase` for what does not depend on it (messages, tables, the first blocks of containers).
inline constexpr size_t kFactor = 4;
inline constexpr size_t kBase = size_t{64} << 10;  // bytes

/// Counts from construction to destruction what is alive of the memory that was allocated meanwhile, by any thread, and the processor time of this thread. Ends the process with a report when more than `bytes` are alive at once, or when it took more than a second.
class Budget {
 public:
  enum class Memory {
    kAll,   // heap and anonymous mappings
    kHeap,  // without mappings, which cost nothing until they are touched
  };
  explicit Budget(size_t bytes, Memory memory = Memory::kAll) noexcept;
  ~Budget();
  Budget(const Budget&) = delete;
  Budget& operator=(const Budget&) = delete;

  /// For readers of untrusted bytes.
  static size_t of_input(size_t size) noexcept { return kBase + kFactor * size; }

  /// The most that was alive at once so far.
  size_t peak() const noexcept;
  /// What is alive now, below 0 when memory of before was freed.
  long long alive() const noexcept;

 private:
  double started_;
};

/// Prints "fuzz: <what>" on standard error and aborts, which libFuzzer reports with the input.
[[noreturn]] void fail(const char* what) noexcept;

}  // namespace lutra::fuzz
