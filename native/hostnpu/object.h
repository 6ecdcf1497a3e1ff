// Objects behind the opaque handles of the interface.
//
// A handle is a number that is never used twice, not an address: a stale, foreign or NULL handle is found to be none, and freeing an object while another
// thread computes with it only drops the table's reference.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lutra::hostnpu {

enum class Kind : uint8_t { kLog, kBackend, kDevice, kContext, kGraph, kProfile, kSignal, kMemory, kSystemContext };

class Object {
 public:
  explicit Object(Kind kind) noexcept : kind_(kind) {}
  virtual ~Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  Kind kind() const noexcept { return kind_; }

 private:
  Kind kind_;
};

class HandleTable {
 public:
  /// The new handle's number; never 0.
  uint64_t add(std::shared_ptr<Object> object);
  /// Empty when the number is not a live handle of that kind.
  std::shared_ptr<Object> find(uint64_t number, Kind kind) const;
  std::shared_ptr<Object> remove(uint64_t number, Kind kind);
  /// Removes all of a kind that `wanted` says so of. O(number of handles).
  template <class Wanted>
  void remove_if(Kind kind, const Wanted& wanted) {
    std::vector<std::shared_ptr<Object>> gone;  // destroyed outside the lock
    const std::lock_guard lock(mutex_);
    for (auto at = objects_.begin(); at != objects_.end();) {
      if (at->second->kind() == kind && wanted(*at->second)) {
        gone.push_back(std::move(at->second));
        at = objects_.erase(at);
      } else {
        ++at;
      }
    }
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, std::shared_ptr<Object>> objects_;
  uint64_t next_ = 1;
};

/// The one table of the process: the interface has no object from which a table of its own could be reached. Never destroyed, because clients
/// call into the library from their exit handlers.
HandleTable& handles();

/// Handles are multiples of 16, so that one that was made up from a small integer is not one by chance.
inline constexpr uint64_t kHandleStep = 16;

template <class T, class Handle>
std::shared_ptr<T> lookup(Handle handle) {
  return std::static_pointer_cast<T>(handles().find(reinterpret_cast<uintptr_t>(handle), T::kKind));
}
template <class T, class Handle>
std::shared_ptr<T> release(Handle handle) {
  return std::static_pointer_cast<T>(handles().remove(reinterpret_cast<uintptr_t>(handle), T::kKind));
}
template <class Handle>
Handle publish(std::shared_ptr<Object> object) {
  return reinterpret_cast<Handle>(static_cast<uintptr_t>(handles().add(std::move(object))));
}

}  // namespace lutra::hostnpu
