#include "hostnpu/profile.h"

#include <algorithm>
#include <utility>

namespace lutra::hostnpu {

namespace abi = qnn::abi;

void Profile::record(abi::ProfileEventType type, const std::string& name, uint64_t microseconds, std::vector<Part> parts) {
  const std::lock_guard lock(mutex_);
  type_ = type;
  parts_.clear();
  parts_.push_back({name, microseconds});
  std::move(parts.begin(), parts.end(), std::back_inserter(parts_));
  parts_.resize(std::min(parts_.size(), size_t{1} << kIndexBits));
  ids_.clear();
  for (size_t i = 0; i < parts_.size(); ++i) ids_.push_back(id_of(i));
}

void Profile::events(const uint64_t** ids, uint32_t* count) const {
  const std::lock_guard lock(mutex_);
  *ids = ids_.data();
  *count = ids_.empty() ? 0 : 1;
}

bool Profile::sub_events(uint64_t id, const uint64_t** ids, uint32_t* count) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(ids_.begin(), ids_.end(), id);
  if (found == ids_.end()) return false;
  const bool is_call = found == ids_.begin();
  *ids = is_call ? ids_.data() + 1 : nullptr;
  *count = is_call ? static_cast<uint32_t>(ids_.size() - 1) : 0;
  if (*count == 0) *ids = nullptr;
  return true;
}

bool Profile::event_data(uint64_t id, abi::EventData* data) const {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(ids_.begin(), ids_.end(), id);
  if (found == ids_.end()) return false;
  const auto index = static_cast<size_t>(found - ids_.begin());
  data->type = static_cast<uint32_t>(index == 0 ? type_ : abi::ProfileEventType::kNode);
  data->unit = abi::ProfileUnit::kMicroseconds;
  data->value = parts_[index].microseconds;
  data->identifier = parts_[index].name.c_str();
  return true;
}

}  // namespace lutra::hostnpu
