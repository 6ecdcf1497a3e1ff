#include "qnn/profile.h"

#include <utility>

#include "base/error.h"

namespace lutra::qnn {
namespace {

// Deeper trees than this are not known; the bound keeps a library with a cycle from exhausting the stack.
constexpr uint32_t kMaxDepth = 8;

void collect(const Backend& backend, const uint64_t* ids, uint32_t count, uint32_t depth, std::vector<ProfileEvent>& out) {
  const Api& api = backend.api();
  for (uint32_t i = 0; ids != nullptr && i < count; ++i) {
    const uint64_t id = ids[i];
    abi::EventData data{};
    const abi::Status status = api.profile_get_event_data(id, &data);
    if (status != 0) backend.fail(ErrorCode::kQnnCall, "profileGetEventData", "", status);
    out.push_back({data.type, data.identifier == nullptr ? "" : data.identifier, data.value, data.unit, depth});
    const uint64_t* parts = nullptr;
    uint32_t part_count = 0;
    if (depth < kMaxDepth && api.profile_get_sub_events != nullptr && api.profile_get_sub_events(id, &parts, &part_count) == 0) {
      // The list belongs to the library and may be replaced by the next call.
      const std::vector<uint64_t> copy(parts, parts + (parts == nullptr ? 0 : part_count));
      collect(backend, copy.data(), static_cast<uint32_t>(copy.size()), depth + 1, out);
    }
  }
}

}  // namespace

const char* unit_name(abi::ProfileUnit unit) noexcept {
  switch (unit) {
    case abi::ProfileUnit::kMicroseconds: return "us";
    case abi::ProfileUnit::kBytes: return "bytes";
    case abi::ProfileUnit::kCycles: return "cycles";
    case abi::ProfileUnit::kCount: return "count";
    case abi::ProfileUnit::kObject: return "object";
    case abi::ProfileUnit::kNone: break;
  }
  return "";
}

Profile::Profile(std::shared_ptr<const Backend> backend, abi::ProfileLevel level) : backend_(std::move(backend)) {
  const Api& api = backend_->api();
  if (api.profile_create == nullptr || api.profile_free == nullptr || api.profile_get_events == nullptr || api.profile_get_event_data == nullptr) {
    throw Error(ErrorCode::kUnsupported, "'" + backend_->library().info().source + "' does not profile", "run without a profile");
  }
  abi::ProfileHandle handle = nullptr;
  const abi::Status status = api.profile_create(backend_->handle(), static_cast<uint32_t>(level), &handle);
  if (status != 0) backend_->fail(ErrorCode::kQnnCall, "profileCreate", "", status);
  handle_ = own(handle, api.profile_free);
}

std::vector<ProfileEvent> Profile::events() const {
  const uint64_t* ids = nullptr;
  uint32_t count = 0;
  const abi::Status status = backend_->api().profile_get_events(handle(), &ids, &count);
  if (status != 0) backend_->fail(ErrorCode::kQnnCall, "profileGetEvents", "", status);
  const std::vector<uint64_t> copy(ids, ids + (ids == nullptr ? 0 : count));
  std::vector<ProfileEvent> out;
  collect(*backend_, copy.data(), static_cast<uint32_t>(copy.size()), 0, out);
  return out;
}

}  // namespace lutra::qnn
