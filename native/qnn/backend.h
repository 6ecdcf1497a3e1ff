// Backend, device and power vote: what exists once per process and NPU.
//
// Every handle class holds its parent alive, so objects may be dropped in any order; the library sees them freed children first.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "qnn/abi.h"
#include "qnn/library.h"
#include "qnn/log.h"
#include "qnn/power.h"
#include "qnn/refusals.h"
#include "qnn/soc_claim.h"

namespace lutra::qnn {

/// A handle of the library with the function that frees it.
template <class Tag>
using Owned = std::unique_ptr<Tag, std::function<void(Tag*)>>;

/// `handle`, freed by `free(handle)` unless the process is exiting (see process_exiting).
template <class Tag, class Free>
Owned<Tag> own(Tag* handle, Free free) {
  return Owned<Tag>(handle, [free](Tag* freed) {
    if (process_exiting()) return;
    const CallGuard guard;
    free(freed);
  });
}

/// The backend of a library. Thread safe.
class Backend {
 public:
  /// `custom_config`: a backend's own configuration structure (BackendOption::kCustom), read during the call; nullptr for none.
  /// Throws Error(kQnnCall).
  static std::shared_ptr<Backend> create(std::shared_ptr<const Library> library, LogOptions log = {}, const void* custom_config = nullptr);
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  const Library& library() const noexcept { return *library_; }
  const Api& api() const noexcept { return library_->api(); }
  abi::BackendHandle handle() const noexcept { return handle_.get(); }
  abi::LogHandle log_handle() const noexcept { return log_.get(); }

  /// Names of the ops of package qti.aisw, sorted. Throws Error(kUnsupported) when the library does not list them.
  std::vector<std::string> supported_operations() const;

  /// Error lines that the library logged since the last call, oldest first; forgets them.
  std::vector<std::string> take_errors() const;

  /// Throws Error(`code`) for a failed call, with the library's last error lines; see throw_status.
  [[noreturn]] void fail(ErrorCode code, std::string_view call, std::string_view subject, abi::Status status) const;

 private:
  Backend(std::shared_ptr<const Library> library, LogOptions log, const void* custom_config);

  // Freed in reverse order: backend, log, then the channel that the log writes to.
  std::shared_ptr<const Library> library_;
  std::unique_ptr<LogChannel> channel_;
  Owned<abi::LogTag> log_;
  Owned<abi::BackendTag> handle_;
};

/// The NPU that graphs are compiled for and run on.
class Device : public std::enable_shared_from_this<Device> {
 public:
  /// `soc`: Qualcomm's number of a SoC model (57 SM8650, 69 SM8750, 87 SM8850); none leaves the choice to the library, which on a phone finds its own and on
  /// x86-64 takes an old one that lacks many float ops. Throws Error: kQnnCall; kUnsupported when a SoC is asked of a library without devices; kBusy when the library
  /// serves another SoC in this process (see SocClaim).
  static std::shared_ptr<Device> create(std::shared_ptr<Backend> backend, std::optional<uint32_t> soc = std::nullopt);
  /// The same with the architecture of the DSP as well, or instead: 68, 69, 73, 75, 79, 81. `measurements`: of libraries that compile for this target.
  static std::shared_ptr<Device> create(std::shared_ptr<Backend> backend, const DeviceTarget& target, const std::vector<Measurement>& measurements = {});
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::shared_ptr<Backend>& backend() const noexcept { return backend_; }
  std::optional<uint32_t> soc() const noexcept { return target_.soc; }
  const DeviceTarget& target() const noexcept { return target_; }
  /// Nodes that no graph for this device may have.
  const Refusals& refusals() const noexcept { return refusals_; }
  /// Null for a library that has no devices.
  abi::DeviceHandle handle() const noexcept { return handle_.get(); }

  /// A vote that rests; nothing when the device has no performance control, as on an emulator.
  std::optional<PowerVote> vote(PowerMode mode) const;

 private:
  Device(std::shared_ptr<Backend> backend, const DeviceTarget& target, const std::vector<Measurement>& measurements);

  std::shared_ptr<Backend> backend_;
  DeviceTarget target_;
  Refusals refusals_;
  std::unique_ptr<SocClaim> claim_;
  Owned<abi::DeviceTag> handle_;
};

}  // namespace lutra::qnn
