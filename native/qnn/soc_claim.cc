#include "qnn/soc_claim.h"

#include <map>
#include <mutex>

#include "base/error.h"

namespace lutra::qnn {
namespace {

struct Entry {
  DeviceTarget target;  // what the library was last told
  uint32_t live = 0;
};

// As process-wide as the state of the libraries that it mirrors.
struct Registry {
  std::mutex mutex;
  std::map<const void*, Entry> entries;
};
Registry& registry() {
  static auto& all = *new Registry;
  return all;
}

}  // namespace

std::string to_string(const DeviceTarget& target) {
  if (!target.chosen()) return "the default SoC";
  std::string text = target.soc ? "SoC " + std::to_string(*target.soc) : "";
  if (target.arch) text.append(text.empty() ? "" : ", ").append("architecture v").append(std::to_string(*target.arch));
  return text;
}

SocClaim::SocClaim(const void* library, const std::string& source, const DeviceTarget& target) : library_(library) {
  const std::lock_guard lock(registry().mutex);
  Entry& entry = registry().entries[library];
  const bool refused = target != entry.target && (entry.live > 0 || !target.chosen());
  if (refused) {
    throw Error(ErrorCode::kBusy, "'" + source + "' is set to " + to_string(entry.target) + " in this process and cannot serve " + to_string(target) + " as well",
                "use the same SoC, or another process");
  }
  entry.target = target;
  ++entry.live;
}

SocClaim::~SocClaim() {
  const std::lock_guard lock(registry().mutex);
  --registry().entries[library_].live;
}

}  // namespace lutra::qnn
