#include "qnn/power.h"

#include <array>
#include <utility>

#include "qnn/backend.h"

namespace lutra::qnn {
namespace {

struct Mode {
  std::string_view name;
  uint32_t corner, hmx_corner, sleep_latency_us;
  bool polls;  // the host spins for the end of a call instead of sleeping
};

// By PowerMode.
constexpr std::array<Mode, 4> kModes = {{
    {"burst", abi::kHtpCornerMax, abi::kHmxCornerMax, 40, true},
    {"sustained", abi::kHtpCornerTurbo, abi::kHmxCornerTurbo, 100, false},
    {"balanced", abi::kHtpCornerNomPlus, abi::kHmxCornerNom, 1000, false},
    {"saver", abi::kHtpCornerSvs, abi::kHmxCornerSvs, 1000, false},
}};

constexpr uint32_t kRestLatencyUs = 2000;
constexpr uint32_t kControlLatencyUs = 100;
constexpr uint32_t kLongestPollingUs = 9999;

abi::HtpPowerConfig clocks(uint32_t id, uint32_t corner, uint32_t sleep_latency_us, bool fixed) {
  abi::HtpPowerConfig config{};
  config.option = abi::HtpPowerOption::kDcvsV3;
  config.dcvs_v3 = {.context_id = id,
                    .set_dcvs_enable = 1,
                    .dcvs_enable = fixed ? 0u : 1u,
                    .power_mode = fixed ? abi::kHtpPowerModePerformance : abi::kHtpPowerModeSaver,
                    .set_sleep_latency = 1,
                    .sleep_latency_us = sleep_latency_us,
                    .set_sleep_disable = 1,
                    .sleep_disable = 0,
                    .set_bus = 1,
                    .bus_min = corner,
                    .bus_target = corner,
                    .bus_max = corner,
                    .set_core = 1,
                    .core_min = corner,
                    .core_target = corner,
                    .core_max = corner};
  return config;
}

abi::HtpPowerConfig number(abi::HtpPowerOption option, uint32_t value) {
  abi::HtpPowerConfig config{};
  config.option = option;
  config.u32 = value;
  return config;
}

abi::HtpPowerConfig matrix_unit(uint32_t corner) {
  abi::HtpPowerConfig config{};
  config.option = abi::HtpPowerOption::kHmxV2;
  config.hmx_v2 = {.pick_default = corner == 0 ? 1u : 0u, .min = corner, .target = corner, .max = corner, .perf_mode = 0};
  return config;
}

}  // namespace

std::optional<PowerMode> power_mode(std::string_view name) noexcept {
  for (size_t i = 0; i < kModes.size(); ++i) {
    if (kModes[i].name == name) return static_cast<PowerMode>(i);
  }
  return std::nullopt;
}

std::optional<PowerVote> PowerVote::create(std::shared_ptr<const Device> device, PowerMode mode) {
  const Backend& backend = *device->backend();
  const auto get = backend.api().device_get_infrastructure;
  const abi::HtpInfrastructure* infrastructure = nullptr;
  const CallGuard guard;
  // Only the HTP's infrastructure is known to have this layout.
  if (get == nullptr || backend.library().info().backend_id != abi::BackendId::kHtp || get(&infrastructure) != 0) return std::nullopt;
  if (infrastructure == nullptr || infrastructure->type != 0 || infrastructure->create_power_config_id == nullptr ||
      infrastructure->destroy_power_config_id == nullptr || infrastructure->set_power_config == nullptr) {
    return std::nullopt;
  }
  uint32_t id = 0;
  if (infrastructure->create_power_config_id(0, 0, &id) != 0) return std::nullopt;
  return PowerVote(std::move(device), infrastructure, id, mode);
}

PowerVote::PowerVote(std::shared_ptr<const Device> device, const abi::HtpInfrastructure* infrastructure, uint32_t id, PowerMode mode)
    : device_(std::move(device)), infrastructure_(infrastructure), id_(id), mode_(mode) {}

PowerVote::PowerVote(PowerVote&& other) noexcept
    : device_(std::move(other.device_)), infrastructure_(std::exchange(other.infrastructure_, nullptr)), id_(other.id_), mode_(other.mode_), awake_(std::exchange(other.awake_, false)) {}

PowerVote& PowerVote::operator=(PowerVote&& other) noexcept {
  if (this != &other) {
    release();
    device_ = std::move(other.device_);
    infrastructure_ = std::exchange(other.infrastructure_, nullptr);
    id_ = other.id_;
    mode_ = other.mode_;
    awake_ = std::exchange(other.awake_, false);
  }
  return *this;
}

PowerVote::~PowerVote() { release(); }

// Older DSPs know neither polling nor the matrix unit's clocks: what one refuses does not keep it from the others.
void PowerVote::set(const abi::HtpPowerConfig& config) const noexcept {
  const abi::HtpPowerConfig* list[] = {&config, nullptr};
  infrastructure_->set_power_config(id_, list);
}

void PowerVote::wake() noexcept {
  if (awake_ || infrastructure_ == nullptr || process_exiting()) return;
  const CallGuard guard;
  const Mode& mode = kModes[static_cast<size_t>(mode_)];
  set(clocks(id_, mode.corner, mode.sleep_latency_us, true));
  set(number(abi::HtpPowerOption::kRpcControlLatency, kControlLatencyUs));
  set(number(abi::HtpPowerOption::kRpcPollingTime, mode.polls ? kLongestPollingUs : 0));
  set(matrix_unit(mode.hmx_corner));
  awake_ = true;
}

void PowerVote::rest() noexcept {
  if (!awake_ || infrastructure_ == nullptr || process_exiting()) return;
  const CallGuard guard;
  set(clocks(id_, abi::kHtpCornerSvs2, kRestLatencyUs, false));
  set(number(abi::HtpPowerOption::kRpcPollingTime, 0));
  set(matrix_unit(0));
  awake_ = false;
}

void PowerVote::release() noexcept {
  if (infrastructure_ == nullptr || process_exiting()) return;
  rest();
  const CallGuard guard;
  infrastructure_->destroy_power_config_id(id_);
  infrastructure_ = nullptr;
}

}  // namespace lutra::qnn
