#include "qnn/soc_claim.h"

#include <map>
#include <mutex>

#include "base/error.h"

namespace lutra::qnn {
namespace {

struct Entry {
  std::optional<uint32_t> soc;  // what the library was last told
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

std::string text(std::optional<uint32_t> soc) { return soc ? "SoC " + std::to_string(*soc) : "the default SoC"; }

}  // namespace

SocClaim::SocClaim(const void* library, const std::string& source, std::optional<uint32_t> soc) : library_(library) {
  const std::lock_guard lock(registry().mutex);
  Entry& entry = registry().entries[library];
  const bool refused = soc != entry.soc && (entry.live > 0 || !soc);
  if (refused) {
    throw Error(ErrorCode::kBusy, "'" + source + "' is set to " + text(entry.soc) + " in this process and cannot serve " + text(soc) + " as well",
                "use the same SoC, or another process");
  }
  entry.soc = soc;
  ++entry.live;
}

SocClaim::~SocClaim() {
  const std::lock_guard lock(registry().mutex);
  --registry().entries[library_].live;
}

}  // namespace lutra::qnn
