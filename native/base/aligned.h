// Zeroed, 64-byte aligned memory with one owner: weights, activations, caches, scratch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace lutra {

/// How a large buffer is paged. kSmall asks the system for small pages, so that a sparsely used buffer (a KV cache) costs what was touched
/// and not a huge page for every first touch; kAuto leaves the choice to the system.
enum class Pages { kAuto, kSmall };

/// Move-only. Reads as zero until written. From 256 KiB on the memory is mapped, so that pages that are never touched cost nothing.
class AlignedBuffer {
 public:
  static constexpr size_t kAlignment = 64;  // bytes; large buffers are aligned to a page

  AlignedBuffer() noexcept = default;
  /// `bytes` may be 0. Throws Error(kOutOfMemory).
  explicit AlignedBuffer(size_t bytes, Pages pages = Pages::kAuto);
  /// Room for `count` elements of T. Throws Error(kOutOfMemory), also when the size overflows.
  template <class T>
  static AlignedBuffer of(size_t count, Pages pages = Pages::kAuto) {
    return AlignedBuffer(checked_bytes(count, sizeof(T)), pages);
  }
  ~AlignedBuffer() { free(); }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), mapped_(std::exchange(other.mapped_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    if (this != &other) {
      free();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
      mapped_ = std::exchange(other.mapped_, 0);
    }
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  size_t size() const noexcept { return size_; }  // bytes
  bool empty() const noexcept { return size_ == 0; }
  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::span<std::byte> bytes() noexcept { return {data_, size_}; }
  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }

  /// The buffer as whole elements of T.
  template <class T>
  std::span<T> as() noexcept {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kAlignment);
    return {reinterpret_cast<T*>(data_), size_ / sizeof(T)};
  }
  template <class T>
  std::span<const T> as() const noexcept {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= kAlignment);
    return {reinterpret_cast<const T*>(data_), size_ / sizeof(T)};
  }

 private:
  static size_t checked_bytes(size_t count, size_t element);
  void free() noexcept;

  std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t mapped_ = 0;  // bytes of the mapping, 0 when the memory comes from the heap
};

}  // namespace lutra
