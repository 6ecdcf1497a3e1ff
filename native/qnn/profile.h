// What the library measured while it built or ran graphs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "qnn/backend.h"

namespace lutra::qnn {

struct ProfileEvent {
  uint32_t type = 0;       // abi::ProfileEventType or a number of the backend's own
  std::string identifier;  // the library's words, for instance "Accelerator (execute) time"
  uint64_t value = 0;
  abi::ProfileUnit unit = abi::ProfileUnit::kNone;
  uint32_t depth = 0;  // 0: an event; n: part of the nearest preceding event of depth n − 1
};

/// "us", "bytes", "cycles", "count", "object" or "".
const char* unit_name(abi::ProfileUnit unit) noexcept;

/// Collects the events of the calls that it is given to. Move-only; not thread safe.
class Profile {
 public:
  /// Throws Error: kUnsupported (the library does not profile), kQnnCall.
  explicit Profile(std::shared_ptr<const Backend> backend, abi::ProfileLevel level = abi::ProfileLevel::kBasic);

  abi::ProfileHandle handle() const noexcept { return handle_.get(); }

  /// The events of the last call that was given this profile, depth first in the library's order. Throws Error(kQnnCall).
  std::vector<ProfileEvent> events() const;

 private:
  std::shared_ptr<const Backend> backend_;
  Owned<abi::ProfileTag> handle_;
};

}  // namespace lutra::qnn
