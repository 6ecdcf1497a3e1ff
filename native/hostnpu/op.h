// The ops of the host NPU: one row each in the table of its family, one file a family. Adding an op is a row and a definition.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "hostnpu/node.h"
#include "hostnpu/plan.h"

namespace lutra::hostnpu {

inline constexpr const char* kOpPackage = "qti.aisw";

struct OpDefinition {
  const char* type;
  const char* supports;                            // what a refusal prints
  void (*check)(const Node& node);                 // throws Failure (refuse()); sees types, shapes and params, not data
  void (*plan)(const Node& node, Planner& planner);  // of a node that passed `check`
};

/// All of them.
const std::vector<const OpDefinition*>& op_definitions();
/// NULL when there is no such op.
const OpDefinition* find_op(std::string_view type);

// The families, one file each (ops_*.cc).
std::span<const OpDefinition> convert_ops() noexcept;
std::span<const OpDefinition> linear_ops() noexcept;
std::span<const OpDefinition> conv_ops() noexcept;
std::span<const OpDefinition> conv_transpose_ops() noexcept;
std::span<const OpDefinition> pool_ops() noexcept;
std::span<const OpDefinition> image_ops() noexcept;
std::span<const OpDefinition> elementwise_ops() noexcept;
std::span<const OpDefinition> norm_ops() noexcept;
std::span<const OpDefinition> softmax_ops() noexcept;
std::span<const OpDefinition> reduce_ops() noexcept;
std::span<const OpDefinition> search_ops() noexcept;
std::span<const OpDefinition> scan_ops() noexcept;
std::span<const OpDefinition> shape_ops() noexcept;
std::span<const OpDefinition> pad_ops() noexcept;
std::span<const OpDefinition> index_ops() noexcept;

}  // namespace lutra::hostnpu
