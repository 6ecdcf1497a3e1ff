// What a client asks of the DSP's clocks: much while it computes, nothing while it waits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "qnn/abi.h"

namespace lutra::qnn {

class Device;

/// From the fastest to the most frugal. A burst at the highest clocks heats a phone within a minute, after which it throttles; sustained clocks hold.
enum class PowerMode : uint8_t { kBurst, kSustained, kBalanced, kSaver };

/// "burst", "sustained", "balanced", "saver"; nothing for another word.
std::optional<PowerMode> power_mode(std::string_view name) noexcept;

/// A vote on clocks of processor, bus and matrix unit (HMX), on sleep latency and on how the host waits for calls (RPC polling). Move-only; used by one thread at a time.
/// A vote that the library refuses is no error: the DSP then runs at the clocks that it chooses.
class PowerVote {
 public:
  PowerVote(const PowerVote&) = delete;
  PowerVote& operator=(const PowerVote&) = delete;
  PowerVote(PowerVote&& other) noexcept;
  PowerVote& operator=(PowerVote&& other) noexcept;
  /// Gives everything back.
  ~PowerVote();

  /// Asks for the clocks of the mode. Does nothing while they are asked for.
  void wake() noexcept;
  /// Lets the DSP go to its lowest clocks and to sleep, until wake().
  void rest() noexcept;
  bool awake() const noexcept { return awake_; }

 private:
  friend class Device;
  /// Nothing when the device has no performance control, as on an emulator. The vote rests.
  static std::optional<PowerVote> create(std::shared_ptr<const Device> device, PowerMode mode);
  PowerVote(std::shared_ptr<const Device> device, const abi::HtpInfrastructure* infrastructure, uint32_t id, PowerMode mode);
  void set(const abi::HtpPowerConfig& config) const noexcept;
  void release() noexcept;

  std::shared_ptr<const Device> device_;
  const abi::HtpInfrastructure* infrastructure_;
  uint32_t id_;
  PowerMode mode_;
  bool awake_ = false;
};

}  // namespace lutra::qnn
