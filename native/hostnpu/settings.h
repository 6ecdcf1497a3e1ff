// Configuration lists of the interface: the options that mean something here. Unknown and custom ones are ignored, as are those whose wish is granted anyway or cannot be told
// from its refusal (priority, error reporting, memory limit, persistent binary, compatibility, deferred initialisation).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hostnpu/failure.h"
#include "hostnpu/profile.h"

namespace lutra::hostnpu {

struct ContextSettings {
  std::optional<uint32_t> queue_depth;
  std::optional<std::vector<std::string>> graphs;  // of a context binary, that are wanted
};
/// Adds the options of `list`, which may be NULL. Throws Failure(kContextInvalidConfig).
void read_settings(const abi::ContextConfig* const* list, ContextSettings& settings);

struct GraphSettings {
  std::shared_ptr<Profile> profile;  // to be bound to the graph
  std::optional<bool> profiling;
  std::optional<uint32_t> profiled_executions;
};
/// Throws Failure(kGraphInvalidArgument).
GraphSettings read_settings(const abi::GraphConfig* const* list);

/// Throws Failure: kInvalidArgument, kNotSupported (traces).
void apply_settings(const abi::ProfileConfig* const* list, Profile& profile);

}  // namespace lutra::hostnpu
