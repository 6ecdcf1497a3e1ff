#include "hostnpu/settings.h"

#include <cstring>

namespace lutra::hostnpu {
namespace {

constexpr uint32_t kMaxQueueDepth = 1u << 16;
constexpr size_t kMaxNames = 1u << 16;

}  // namespace

void read_settings(const abi::ContextConfig* const* list, ContextSettings& settings) {
  for (; list != nullptr && *list != nullptr; ++list) {
    const abi::ContextConfig& config = **list;
    if (config.option == abi::ContextOption::kAsyncQueueDepth) {
      abi::AsyncQueueDepth depth;
      std::memcpy(&depth, &config.value, sizeof depth);
      if (depth.type != 0 || depth.depth == 0 || depth.depth > kMaxQueueDepth) {
        throw Failure(abi::kContextInvalidConfig, "a queue depth of " + std::to_string(depth.depth) + " is not possible: 1 to " + std::to_string(kMaxQueueDepth));
      }
      settings.queue_depth = depth.depth;
    } else if (config.option == abi::ContextOption::kEnableGraphs) {
      const auto* names = static_cast<const char* const*>(config.const_pointer);
      if (names == nullptr) throw Failure(abi::kContextInvalidConfig, "the list of enabled graphs is NULL");
      settings.graphs.emplace();
      for (; *names != nullptr; ++names) {
        if (settings.graphs->size() == kMaxNames) throw Failure(abi::kContextInvalidConfig, "the list of enabled graphs does not end");
        settings.graphs->emplace_back(*names);
      }
    }
  }
}

GraphSettings read_settings(const abi::GraphConfig* const* list) {
  GraphSettings settings;
  for (; list != nullptr && *list != nullptr; ++list) {
    const abi::GraphConfig& config = **list;
    switch (config.option) {
      case abi::GraphOption::kProfileHandle:
        settings.profile = lookup<Profile>(static_cast<abi::ProfileHandle>(config.pointer));
        if (settings.profile == nullptr) throw Failure(abi::kGraphInvalidArgument, "the profile that is to be bound to the graph is not valid");
        break;
      case abi::GraphOption::kProfilingState: {
        const auto state = static_cast<abi::ProfilingState>(static_cast<uint32_t>(config.value));
        if (state != abi::ProfilingState::kEnabled && state != abi::ProfilingState::kDisabled) throw Failure(abi::kGraphInvalidArgument, "the profiling state is neither on nor off");
        settings.profiling = state == abi::ProfilingState::kEnabled;
        break;
      }
      case abi::GraphOption::kNumProfilingExecutions: settings.profiled_executions = static_cast<uint32_t>(config.value); break;
      case abi::GraphOption::kCustom:
      case abi::GraphOption::kPriority: break;
    }
  }
  return settings;
}

void apply_settings(const abi::ProfileConfig* const* list, Profile& profile) {
  for (; list != nullptr && *list != nullptr; ++list) {
    const abi::ProfileConfig& config = **list;
    if (config.option == abi::ProfileOption::kMaxEvents) {
      if (config.value == 0) throw Failure(abi::kInvalidArgument, "a profile of no events is of no use");
      profile.set_max_events(config.value);
    } else if (config.option == abi::ProfileOption::kEnableOptrace && config.bool8 != 0) {
      throw Failure(abi::kNotSupported, "the host NPU writes no traces");
    }
  }
}

}  // namespace lutra::hostnpu
