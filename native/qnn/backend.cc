#include "qnn/backend.h"

#include <algorithm>
#include <utility>

#include "qnn/status.h"

namespace lutra::qnn {

Backend::Backend(std::shared_ptr<const Library> library, LogOptions log, const void* custom_config) : library_(std::move(library)) {
  const Api& functions = api();
  const CallGuard guard;
  if (functions.log_create != nullptr && functions.log_free != nullptr) {
    const bool silent = !log.sink;
    channel_ = std::make_unique<LogChannel>(std::move(log.sink));
    abi::LogHandle handle = nullptr;
    const abi::LogLevel level = silent ? abi::LogLevel::kError : std::max(log.level, abi::LogLevel::kError);
    // A library without a working log is still usable: its errors come without the reasons.
    if (functions.log_create(channel_->callback(), static_cast<uint32_t>(level), &handle) == 0) {
      log_ = own(handle, functions.log_free);
    }
  }
  abi::BackendConfig config{};
  config.option = abi::BackendOption::kCustom;
  config.const_pointer = custom_config;
  const abi::BackendConfig* list[] = {&config, nullptr};
  abi::BackendHandle handle = nullptr;
  const abi::Status status = functions.backend_create(log_handle(), custom_config == nullptr ? nullptr : list, &handle);
  if (status != 0) fail(ErrorCode::kQnnCall, "backendCreate", "'" + library_->info().source + "'", status);
  handle_ = own(handle, functions.backend_free);
}

std::shared_ptr<Backend> Backend::create(std::shared_ptr<const Library> library, LogOptions log, const void* custom_config) {
  return std::shared_ptr<Backend>(new Backend(std::move(library), std::move(log), custom_config));
}

std::vector<std::string> Backend::supported_operations() const {
  if (api().backend_get_supported_operations == nullptr) {
    throw Error(ErrorCode::kUnsupported, "'" + library_->info().source + "' does not list its operations");
  }
  uint32_t count = 0;
  const abi::OperationName* operations = nullptr;
  const abi::Status status = api().backend_get_supported_operations(handle(), &count, &operations);
  if (status != 0) fail(ErrorCode::kQnnCall, "backendGetSupportedOperations", "", status);
  std::vector<std::string> names;
  for (uint32_t i = 0; operations != nullptr && i < count; ++i) {
    const bool standard = operations[i].package != nullptr && std::string_view(operations[i].package) == "qti.aisw";
    if (standard && operations[i].name != nullptr) names.emplace_back(operations[i].name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> Backend::take_errors() const { return channel_ == nullptr ? std::vector<std::string>() : channel_->take_errors(); }

void Backend::fail(ErrorCode code, std::string_view call, std::string_view subject, abi::Status status) const {
  throw_status(code, call, subject, status, take_errors());
}

// Qualcomm's runtime; the host NPU has the same backend id but no such state.
constexpr const char* kHtpProvider = "HTP_QTI_AISW";

namespace {

/// One custom entry for each part of a target, and the list that points at them.
struct DeviceConfigs {
  explicit DeviceConfigs(const DeviceTarget& target) {
    if (target.soc) {
      abi::HtpDeviceCustomConfig& soc = add(abi::HtpDeviceOption::kSoc);
      soc.legacy_value = *target.soc;
      soc.soc = *target.soc;
    }
    if (target.arch) add(abi::HtpDeviceOption::kArch).arch = {0, *target.arch};
  }

  abi::HtpDeviceCustomConfig& add(abi::HtpDeviceOption option) {
    custom[count] = {};
    custom[count].option = option;
    configs[count].option = abi::DeviceOption::kCustom;
    configs[count].pointer = &custom[count];
    list[count] = &configs[count];
    return custom[count++];
  }

  size_t count = 0;
  abi::HtpDeviceCustomConfig custom[2] = {};
  abi::DeviceConfig configs[2] = {};
  const abi::DeviceConfig* list[3] = {};
};

}  // namespace

Device::Device(std::shared_ptr<Backend> backend, const DeviceTarget& target, const std::vector<Measurement>& measurements)
    : backend_(std::move(backend)), target_(target), refusals_(refusals_for(backend_->library().info(), measurements)) {
  const Api& functions = backend_->api();
  if (functions.device_create == nullptr || functions.device_free == nullptr) {
    if (target_.chosen()) throw Error(ErrorCode::kUnsupported, "'" + backend_->library().info().source + "' has no devices, so no SoC can be chosen", "leave the SoC out");
    return;
  }
  const LibraryInfo& info = backend_->library().info();
  if (info.provider == kHtpProvider) {
    claim_ = std::make_unique<SocClaim>(reinterpret_cast<const void*>(functions.device_create), info.source, target_);
  }
  DeviceConfigs configs(target_);
  abi::DeviceHandle handle = nullptr;
  const CallGuard guard;
  const abi::Status status = functions.device_create(backend_->log_handle(), target_.chosen() ? configs.list : nullptr, &handle);
  // Backends that know no devices (the CPU one) say so; a null device then stands for their only one.
  if (!target_.chosen() && status_info(status).code == abi::kNotSupported) return;
  if (status != 0) backend_->fail(ErrorCode::kQnnCall, "deviceCreate", to_string(target_), status);
  handle_ = own(handle, functions.device_free);
}

std::shared_ptr<Device> Device::create(std::shared_ptr<Backend> backend, const DeviceTarget& target, const std::vector<Measurement>& measurements) {
  return std::shared_ptr<Device>(new Device(std::move(backend), target, measurements));
}

std::shared_ptr<Device> Device::create(std::shared_ptr<Backend> backend, std::optional<uint32_t> soc) {
  return create(std::move(backend), DeviceTarget{soc, std::nullopt});
}

std::optional<PowerVote> Device::vote(PowerMode mode) const { return PowerVote::create(shared_from_this(), mode); }

}  // namespace lutra::qnn
