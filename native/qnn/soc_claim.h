// One SoC at a time for a library whose choice of SoC is the process's and not the device's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace lutra::qnn {

/// Qualcomm's HTP runtime keeps the SoC of the last deviceCreate and validates and compiles the graphs of every context for it, also those of
/// devices made before; a device made without a SoC inherits it. Two SoCs side by side would give graphs for the wrong one without a word, so a
/// claim is held for every device, and one that disagrees is refused.
class SocClaim {
 public:
  /// `library` identifies the loaded library (an address inside it), `source` names it in messages. Throws Error(kBusy) when a live claim on the library has another SoC,
  /// and when no SoC is asked for after one was set.
  SocClaim(const void* library, const std::string& source, std::optional<uint32_t> soc);
  ~SocClaim();
  SocClaim(const SocClaim&) = delete;
  SocClaim& operator=(const SocClaim&) = delete;

 private:
  const void* library_;
};

}  // namespace lutra::qnn
