// Mappings that outlive their file.
//
// A page of a mapped file that is not there any more, because somebody truncated the file or its disk failed, raises SIGBUS in whoever touches it. The guard
// answers for the mappings that it knows: it puts zeros in the place of the page and of all behind it, and remembers, so that the owner can throw away what was computed
// from them. Signals elsewhere go to the handler that was there before. The handler is there while a mapping is.
#pragma once

#include <cstddef>
#include <span>

namespace lutra::store {

/// One guarded mapping; the memory must stay mapped while it lives. Move-only.
class BusGuard {
 public:
  BusGuard() = default;
  explicit BusGuard(std::span<const std::byte> mapping);
  ~BusGuard();
  BusGuard(BusGuard&& other) noexcept;
  BusGuard& operator=(BusGuard&& other) noexcept;
  BusGuard(const BusGuard&) = delete;
  BusGuard& operator=(const BusGuard&) = delete;

  /// Whether zeros stand where the file's bytes should: what was read since, and all that is read later, may be wrong.
  bool torn() const noexcept;

  struct Slot;

 private:
  void release() noexcept;

  Slot* slot_ = nullptr;
};

}  // namespace lutra::store
