// Profiles.
#include "hostnpu/calls.h"
#include "hostnpu/profile.h"

namespace lutra::hostnpu {
namespace {

std::shared_ptr<Profile> profile_of_event(uint64_t id) {
  return std::static_pointer_cast<Profile>(handles().find(Profile::handle_of(id), Kind::kProfile));
}

abi::Status profile_create(abi::BackendHandle backend, uint32_t level, abi::ProfileHandle* out) {
  if (lookup<Backend>(backend) == nullptr) return abi::kBackendInvalidHandle;
  if (out == nullptr || level == 0) return abi::kInvalidArgument;
  return guarded(nullptr, [&] {
    // Every level above BASIC (detailed, and those of other backends) gets the times of nodes.
    const auto profile = std::make_shared<Profile>(level != static_cast<uint32_t>(abi::ProfileLevel::kBasic));
    *out = publish<abi::ProfileHandle>(profile);
    profile->set_handle(reinterpret_cast<uintptr_t>(*out));
  });
}

abi::Status profile_set_config(abi::ProfileHandle handle, const abi::ProfileConfig** configs) {
  const auto profile = lookup<Profile>(handle);
  if (profile == nullptr) return abi::kProfileInvalidHandle;
  return guarded(nullptr, [&] { apply_settings(configs, *profile); });
}

abi::Status profile_get_events(abi::ProfileHandle handle, const uint64_t** ids, uint32_t* count) {
  const auto profile = lookup<Profile>(handle);
  if (profile == nullptr) return abi::kProfileInvalidHandle;
  if (ids == nullptr || count == nullptr) return abi::kInvalidArgument;
  profile->events(ids, count);
  return abi::kSuccess;
}

abi::Status profile_get_sub_events(uint64_t id, const uint64_t** ids, uint32_t* count) {
  const auto profile = profile_of_event(id);
  if (profile == nullptr || ids == nullptr || count == nullptr) return abi::kInvalidArgument;
  return profile->sub_events(id, ids, count) ? abi::kSuccess : abi::kInvalidArgument;
}

abi::Status profile_get_event_data(uint64_t id, abi::EventData* out) {
  const auto profile = profile_of_event(id);
  if (profile == nullptr || out == nullptr) return abi::kInvalidArgument;
  return profile->event_data(id, out) ? abi::kSuccess : abi::kInvalidArgument;
}

abi::Status profile_get_extended_event_data(uint64_t id, abi::ExtendedEventData* out) {
  const auto profile = profile_of_event(id);
  if (profile == nullptr || out == nullptr) return abi::kInvalidArgument;
  return profile->extended_event_data(id, out) ? abi::kSuccess : abi::kInvalidArgument;
}

abi::Status profile_free(abi::ProfileHandle handle) {
  const auto profile = lookup<Profile>(handle);
  if (profile == nullptr) return abi::kProfileInvalidHandle;
  if (profile->bound()) return abi::kProfileInUse;
  return release<Profile>(handle) == nullptr ? abi::kProfileInvalidHandle : abi::kSuccess;
}

}  // namespace

std::shared_ptr<Profile> optional_profile(abi::ProfileHandle handle) {
  if (handle == nullptr) return nullptr;
  auto profile = lookup<Profile>(handle);
  if (profile == nullptr) throw Failure(abi::kInvalidArgument, "the profile handle is not valid");
  return profile;
}

void add_profile_calls(abi::AnyFunction* table) noexcept {
  using abi::Slot;
  put<abi::ProfileCreateFn>(table, Slot::kProfileCreate, profile_create);
  put<abi::ProfileSetConfigFn>(table, Slot::kProfileSetConfig, profile_set_config);
  put<abi::ProfileGetEventsFn>(table, Slot::kProfileGetEvents, profile_get_events);
  put<abi::ProfileGetSubEventsFn>(table, Slot::kProfileGetSubEvents, profile_get_sub_events);
  put<abi::ProfileGetEventDataFn>(table, Slot::kProfileGetEventData, profile_get_event_data);
  put<abi::ProfileGetExtendedEventDataFn>(table, Slot::kProfileGetExtendedEventData, profile_get_extended_event_data);
  put<abi::ProfileFreeFn>(table, Slot::kProfileFree, profile_free);
}

}  // namespace lutra::hostnpu
