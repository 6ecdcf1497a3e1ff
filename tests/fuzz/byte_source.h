// Decisions out of a fuzz input: every byte string is a program, and one that has ended chooses 0 for ever.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lutra::fuzz {

class ByteSource {
 public:
  explicit ByteSource(std::span<const uint8_t> bytes) : bytes_(bytes) {}

  bool ended() const noexcept { return at_ >= bytes_.size(); }
  uint8_t byte() noexcept { return ended() ? uint8_t{0} : bytes_[at_++]; }
  uint32_t word() noexcept {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | byte();
    return value;
  }
  /// In [0, n); n may be up to 65536, 0 gives 0.
  size_t below(size_t n) noexcept {
    if (n <= 1) return 0;
    return (n <= 256 ? byte() : size_t{byte()} << 8 | byte()) % n;
  }
  /// True for one in `n` of random bytes; never at the end of the input.
  bool one_in(size_t n) noexcept { return below(n) == n - 1; }
  template <class T>
  const T& of(const std::vector<T>& list) noexcept {
    return list[below(list.size())];
  }
  template <class T, size_t N>
  T of(const T (&list)[N]) noexcept {
    return list[below(N)];
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t at_ = 0;
};

}  // namespace lutra::fuzz
