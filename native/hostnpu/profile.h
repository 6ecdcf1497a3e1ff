// Timings of calls, as the interface's events: numbers that lead to data, with parts.
#pragma once

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "hostnpu/object.h"
#include "qnn/abi.h"

namespace lutra::hostnpu {

struct ProfileEvent {
  ProfileEvent(qnn::abi::ProfileEventType its_type, qnn::abi::ProfileUnit its_unit, uint64_t its_value, std::string its_name)
      : type(its_type), unit(its_unit), value(its_value), name(std::move(its_name)) {}

  qnn::abi::ProfileEventType type;
  qnn::abi::ProfileUnit unit;
  uint64_t value;
  std::string name;
  std::vector<ProfileEvent> parts;
};

class Profile : public Object {
 public:
  static constexpr Kind kKind = Kind::kProfile;
  explicit Profile(bool detailed) noexcept : Object(kKind), detailed_(detailed) {}

  bool detailed() const noexcept { return detailed_; }
  /// Tells the object its own handle, from which the numbers of events are made.
  void set_handle(uint64_t handle) noexcept { handle_ = handle; }
  /// Events beyond so many are left out, parts before what they are parts of.
  void set_max_events(uint64_t count) noexcept;

  /// Replaces the events of the last call.
  void record(const std::vector<ProfileEvent>& events);

  // Pointers are valid until the next record() or until the profile is freed.
  void events(const uint64_t** ids, uint32_t* count) const;
  bool sub_events(uint64_t id, const uint64_t** ids, uint32_t* count) const;
  bool event_data(uint64_t id, qnn::abi::EventData* data) const;
  bool extended_event_data(uint64_t id, qnn::abi::ExtendedEventData* data) const;
  /// The handle of the profile that an event belongs to.
  static uint64_t handle_of(uint64_t id) noexcept { return id >> kIndexBits; }

  /// A profile is bound to one graph at a time. False: another one has it.
  bool bind(const void* graph) noexcept;
  void unbind(const void* graph) noexcept;
  bool bound() const noexcept;

 private:
  static constexpr uint32_t kIndexBits = 16;
  static constexpr size_t kMostEvents = size_t{1} << kIndexBits;
  struct Entry {
    qnn::abi::EventData data;
    size_t first_part, part_count;  // among the entries
  };
  const Entry* find(uint64_t id) const noexcept;  // under the lock

  const bool detailed_;
  uint64_t handle_ = 0;
  mutable std::mutex mutex_;
  const void* bound_ = nullptr;
  size_t max_events_ = kMostEvents;
  size_t roots_ = 0;
  uint64_t timestamp_ = 0;  // microseconds
  std::vector<std::string> names_;
  std::vector<Entry> entries_;  // level by level, so that the parts of an event lie together
  std::vector<uint64_t> ids_;
};

}  // namespace lutra::hostnpu
