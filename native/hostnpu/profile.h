// Timings of calls, as the interface's events: numbers that lead to data, with parts.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "hostnpu/object.h"
#include "qnn/abi.h"

namespace lutra::hostnpu {

class Profile : public Object {
 public:
  static constexpr Kind kKind = Kind::kProfile;
  explicit Profile(bool detailed) noexcept : Object(kKind), detailed_(detailed) {}

  bool detailed() const noexcept { return detailed_; }
  /// Tells the object its own handle, from which the numbers of events are made.
  void set_handle(uint64_t handle) noexcept { handle_ = handle; }

  struct Part {
    std::string name;
    uint64_t microseconds;
  };
  /// Replaces the events of the last call.
  void record(qnn::abi::ProfileEventType type, const std::string& name, uint64_t microseconds, std::vector<Part> parts);

  // Pointers are valid until the next record() or until the profile is freed.
  void events(const uint64_t** ids, uint32_t* count) const;
  bool sub_events(uint64_t id, const uint64_t** ids, uint32_t* count) const;
  bool event_data(uint64_t id, qnn::abi::EventData* data) const;
  /// The handle of the profile that an event belongs to.
  static uint64_t handle_of(uint64_t id) noexcept { return id >> kIndexBits; }

 private:
  static constexpr uint32_t kIndexBits = 16;
  uint64_t id_of(size_t index) const noexcept { return handle_ << kIndexBits | index; }

  const bool detailed_;
  uint64_t handle_ = 0;
  mutable std::mutex mutex_;
  qnn::abi::ProfileEventType type_{};
  std::vector<Part> parts_;  // the event itself first
  std::vector<uint64_t> ids_;
};

}  // namespace lutra::hostnpu
