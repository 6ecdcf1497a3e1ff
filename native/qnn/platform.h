// What a QNN library says of the hardware that it found.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "qnn/library.h"

namespace lutra::qnn {

/// One NPU.
struct PlatformDevice {
  uint32_t id = 0;
  uint32_t cores = 0;
  /// Facts of a Hexagon; a library for other hardware has none.
  struct Htp {
    uint32_t soc = 0;      // QNN's number of the SoC model
    uint32_t arch = 0;     // 75: v75
    uint64_t vtcm_mb = 0;  // memory on the chip
    bool signed_pd = false;
  };
  std::optional<Htp> htp;
};

/// Interface: deviceGetPlatformInfo. Empty when the library does not offer it or does not know. Qualcomm's library for x86-64 always names SoC 30 (SM8350). Throws
/// Error(kQnnCall) when the call fails.
std::vector<PlatformDevice> platform_devices(const Library& library);

}  // namespace lutra::qnn
