// What measured libraries must not be given.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "qnn/library.h"

namespace lutra::qnn {

/// Why a node is refused before the library is asked: it was measured to get such nodes wrong, or not to survive them.
struct Refusal {
  std::string message;
  std::string remedy;
};
/// By form (see form_of).
using Refusals = std::unordered_map<std::string, Refusal>;

/// A build of a library that was measured.
struct Measurement {
  std::string provider;
  std::string build_id;
  abi::Version backend{};
  Refusals refusals;
};

/// Those of this very build, else of the provider's release nearest to it: what was wrong there is not trusted before it has been measured again. Empty for
/// other providers.
Refusals refusals_for(const LibraryInfo& library, const std::vector<Measurement>& measurements);

}  // namespace lutra::qnn
