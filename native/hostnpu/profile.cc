#include "hostnpu/profile.h"

#include <algorithm>
#include <chrono>

namespace lutra::hostnpu {

namespace abi = qnn::abi;

void Profile::set_max_events(uint64_t count) noexcept {
  const std::lock_guard lock(mutex_);
  max_events_ = static_cast<size_t>(std::min<uint64_t>(count, kMostEvents));
}

void Profile::record(const std::vector<ProfileEvent>& events) {
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  timestamp_ = static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count());
  std::vector<const ProfileEvent*> flat;
  entries_.clear();
  const auto append = [&](const std::vector<ProfileEvent>& list) {
    const size_t count = std::min(list.size(), max_events_ - flat.size());
    for (size_t i = 0; i < count; ++i) flat.push_back(&list[i]);
    return count;
  };
  roots_ = append(events);
  for (size_t i = 0; i < flat.size(); ++i) {
    const size_t first = flat.size(), count = append(flat[i]->parts);
    entries_.push_back({{static_cast<uint32_t>(flat[i]->type), flat[i]->unit, flat[i]->value, nullptr}, first, count});
  }
  names_.clear();
  ids_.clear();
  for (size_t i = 0; i < flat.size(); ++i) {
    names_.push_back(flat[i]->name);
    ids_.push_back(handle_ << kIndexBits | i);
  }
  for (size_t i = 0; i < flat.size(); ++i) entries_[i].data.identifier = names_[i].c_str();
}

const Profile::Entry* Profile::find(uint64_t id) const noexcept {
  const uint64_t index = id & (kMostEvents - 1);
  return handle_of(id) == handle_ && index < entries_.size() ? &entries_[index] : nullptr;
}

void Profile::events(const uint64_t** ids, uint32_t* count) const {
  const std::lock_guard lock(mutex_);
  *ids = ids_.data();
  *count = static_cast<uint32_t>(roots_);
}

bool Profile::sub_events(uint64_t id, const uint64_t** ids, uint32_t* count) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry == nullptr) return false;
  *ids = entry->part_count == 0 ? nullptr : ids_.data() + entry->first_part;
  *count = static_cast<uint32_t>(entry->part_count);
  return true;
}

bool Profile::event_data(uint64_t id, abi::EventData* data) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry == nullptr) return false;
  *data = entry->data;
  return true;
}

bool Profile::extended_event_data(uint64_t id, abi::ExtendedEventData* data) const {
  const std::lock_guard lock(mutex_);
  const Entry* entry = find(id);
  if (entry == nullptr) return false;
  *data = {};
  data->version = 1;
  data->v1.type = entry->data.type;
  data->v1.unit = entry->data.unit;
  data->v1.value.dtype = abi::DataType::kUint64;
  data->v1.value.bits = entry->data.value;
  data->v1.timestamp = timestamp_;
  data->v1.identifier = entry->data.identifier;
  return true;
}

bool Profile::bind(const void* graph) noexcept {
  const std::lock_guard lock(mutex_);
  if (bound_ != nullptr && bound_ != graph) return false;
  bound_ = graph;
  return true;
}

void Profile::unbind(const void* graph) noexcept {
  const std::lock_guard lock(mutex_);
  if (bound_ == graph) bound_ = nullptr;
}

bool Profile::bound() const noexcept {
  const std::lock_guard lock(mutex_);
  return bound_ != nullptr;
}

}  // namespace lutra::hostnpu
