// One SoC at a time for a library whose choice of SoC is the process's and not the device's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lutra::qnn {

/// What a device is made for: a SoC, or only the architecture of its DSP (75: v75); nothing: the library's choice.
struct DeviceTarget {
  std::optional<uint32_t> soc;
  std::optional<uint32_t> arch;
  bool operator==(const DeviceTarget&) const = default;
  bool chosen() const noexcept { return soc || arch; }
};

/// "SoC 57", "architecture v75", "SoC 57, architecture v75" or "the default SoC".
std::string to_string(const DeviceTarget& target);

/// Qualcomm's HTP runtime keeps the SoC of the last deviceCreate and validates and compiles the graphs of every context for it, also those of
/// devices made before; a device made without a SoC inherits it. Two SoCs side by side would give graphs for the wrong one without a word, so a
/// claim is held for every device, and one that disagrees is refused.
class SocClaim {
 public:
  /// `library` identifies the loaded library (an address inside it), `source` names it in messages. Throws Error(kBusy) when a live claim on the library has another target,
  /// and when none is asked for after one was set.
  SocClaim(const void* library, const std::string& source, const DeviceTarget& target);
  ~SocClaim();
  SocClaim(const SocClaim&) = delete;
  SocClaim& operator=(const SocClaim&) = delete;

 private:
  const void* library_;
};

}  // namespace lutra::qnn
