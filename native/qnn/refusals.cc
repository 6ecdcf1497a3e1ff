#include "qnn/refusals.h"

#include <cstdint>
#include <cstdlib>

namespace lutra::qnn {
namespace {

/// 0 for the very build.
int64_t distance(const Measurement& measurement, const LibraryInfo& library) {
  if (measurement.build_id == library.build_id) return 0;
  const auto release = [](const abi::Version& version) { return int64_t{version.major} * 1'000'000 + version.minor; };
  return 1 + std::abs(release(measurement.backend) - release(library.backend));
}

}  // namespace

Refusals refusals_for(const LibraryInfo& library, const std::vector<Measurement>& measurements) {
  const Measurement* nearest = nullptr;
  for (const Measurement& one : measurements) {
    if (one.provider == library.provider && (nearest == nullptr || distance(one, library) < distance(*nearest, library))) nearest = &one;
  }
  return nearest == nullptr ? Refusals{} : nearest->refusals;
}

}  // namespace lutra::qnn
