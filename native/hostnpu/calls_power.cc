// The performance infrastructure: a host has no clocks of its own to vote on, so the votes are checked and counted.
#include <algorithm>
#include <map>
#include <mutex>

#include "hostnpu/calls.h"
#include "hostnpu/hostnpu.h"

namespace lutra::hostnpu {
namespace {

/// Votes belong to the process: the interface's functions get no object. As the handle table, never destroyed.
struct Votes {
  std::mutex mutex;
  std::map<uint32_t, uint32_t> corners;  // of the processor, by id; 0 before the first vote
  PowerState state;
  uint32_t next = 1;
};
Votes& votes() {
  static auto& all = *new Votes;
  return all;
}

abi::Status create_power_config_id(uint32_t device, uint32_t core, uint32_t* id) {
  if (id == nullptr || device != 0 || core != 0) return abi::kInvalidArgument;
  Votes& all = votes();
  const std::lock_guard lock(all.mutex);
  *id = all.next++;
  all.corners[*id] = 0;
  ++all.state.created;
  return abi::kSuccess;
}

abi::Status destroy_power_config_id(uint32_t id) {
  Votes& all = votes();
  const std::lock_guard lock(all.mutex);
  if (all.corners.erase(id) == 0) return abi::kInvalidArgument;
  ++all.state.destroyed;
  return abi::kSuccess;
}

bool ordered(uint32_t least, uint32_t target, uint32_t most) { return least <= target && target <= most && most <= abi::kHtpCornerMax; }

bool sane(uint32_t id, const abi::HtpPowerConfig& config) {
  switch (config.option) {
    case abi::HtpPowerOption::kDcvsV3: {
      const abi::HtpDcvsV3& v = config.dcvs_v3;
      return v.context_id == id && (v.set_bus == 0 || ordered(v.bus_min, v.bus_target, v.bus_max)) && (v.set_core == 0 || ordered(v.core_min, v.core_target, v.core_max));
    }
    case abi::HtpPowerOption::kRpcPollingTime: return config.u32 <= 9999;
    case abi::HtpPowerOption::kHmxV2: return config.hmx_v2.min <= config.hmx_v2.target && config.hmx_v2.target <= config.hmx_v2.max;
    case abi::HtpPowerOption::kRpcControlLatency:
    case abi::HtpPowerOption::kHmxTimeout: return true;
  }
  return false;
}

abi::Status set_power_config(uint32_t id, const abi::HtpPowerConfig** list) {
  if (list == nullptr) return abi::kInvalidArgument;
  Votes& all = votes();
  const std::lock_guard lock(all.mutex);
  const auto own = all.corners.find(id);
  if (own == all.corners.end()) return abi::kInvalidArgument;
  for (const abi::HtpPowerConfig** at = list; *at != nullptr; ++at) {
    if (!sane(id, **at)) return abi::kInvalidArgument;
  }
  for (const abi::HtpPowerConfig** at = list; *at != nullptr; ++at) {
    ++all.state.set;
    if ((*at)->option == abi::HtpPowerOption::kDcvsV3 && (*at)->dcvs_v3.set_core != 0) own->second = (*at)->dcvs_v3.core_target;
  }
  return abi::kSuccess;
}

constexpr abi::HtpInfrastructure kInfrastructure = {0, &create_power_config_id, &destroy_power_config_id, &set_power_config, nullptr};

}  // namespace

abi::Status device_get_infrastructure(const abi::HtpInfrastructure** out) {
  if (out == nullptr) return abi::kInvalidArgument;
  *out = &kInfrastructure;
  return abi::kSuccess;
}

PowerState power_state() noexcept {
  Votes& all = votes();
  const std::lock_guard lock(all.mutex);
  PowerState state = all.state;
  for (const auto& [id, corner] : all.corners) state.corner = std::max(state.corner, corner);
  return state;
}

}  // namespace lutra::hostnpu
