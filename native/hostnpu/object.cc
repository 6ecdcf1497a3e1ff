#include "hostnpu/object.h"

#include <utility>

namespace lutra::hostnpu {

uint64_t HandleTable::add(std::shared_ptr<Object> object) {
  const std::lock_guard lock(mutex_);
  const uint64_t number = next_ * kHandleStep;
  objects_.emplace(number, std::move(object));
  ++next_;
  return number;
}

std::shared_ptr<Object> HandleTable::find(uint64_t number, Kind kind) const {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(number);
  return found != objects_.end() && found->second->kind() == kind ? found->second : nullptr;
}

std::shared_ptr<Object> HandleTable::remove(uint64_t number, Kind kind) {
  const std::lock_guard lock(mutex_);
  const auto found = objects_.find(number);
  if (found == objects_.end() || found->second->kind() != kind) return nullptr;
  std::shared_ptr<Object> object = std::move(found->second);
  objects_.erase(found);
  return object;  // destroyed by the caller, outside the lock
}

HandleTable& handles() {
  static HandleTable& table = *new HandleTable;
  return table;
}

}  // namespace lutra::hostnpu
