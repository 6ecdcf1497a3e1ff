#include "qnn/platform.h"

#include "base/error.h"
#include "qnn/status.h"

namespace lutra::qnn {
namespace {

// A description beyond these was misread.
constexpr uint32_t kMaxDevices = 16, kMaxCores = 64;

PlatformDevice device_of(const abi::HardwareDevice& device, bool hexagon) {
  PlatformDevice out{device.id, device.core_count <= kMaxCores ? device.core_count : 0, {}};
  if (const abi::HtpDeviceInfo* htp = device.extension; hexagon && htp != nullptr && htp->type == 0) {
    out.htp = PlatformDevice::Htp{htp->soc, htp->arch, htp->vtcm_mb, htp->signed_pd};
  }
  return out;
}

}  // namespace

std::vector<PlatformDevice> platform_devices(const Library& library) {
  const Api& api = library.api();
  std::vector<PlatformDevice> out;
  if (api.device_get_platform_info == nullptr) return out;
  const CallGuard guard;
  const abi::PlatformInfo* info = nullptr;
  const abi::Status status = api.device_get_platform_info(nullptr, &info);
  if ((status & 0xFFFF) == abi::kNotSupported) return out;
  if (status != 0) throw_status(ErrorCode::kQnnCall, "deviceGetPlatformInfo", "", status);
  if (info == nullptr || info->version != 1 || info->devices == nullptr || info->device_count > kMaxDevices) return out;
  const bool hexagon = library.info().backend_id == abi::BackendId::kHtp;
  for (uint32_t i = 0; i < info->device_count; ++i) {
    if (info->devices[i].version == 1) out.push_back(device_of(info->devices[i], hexagon));
  }
  if (api.device_free_platform_info != nullptr) api.device_free_platform_info(nullptr, info);
  return out;
}

}  // namespace lutra::qnn
