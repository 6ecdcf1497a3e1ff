// The ops of the host NPU: one row each in the registry (op_table.cc), one file a family. Adding an op is a row and a definition.
#pragma once

#include <span>
#include <string_view>

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

std::span<const OpDefinition* const> op_definitions() noexcept;
/// NULL when there is no such op.
const OpDefinition* find_op(std::string_view type) noexcept;

// ops_convert.cc
extern const OpDefinition kQuantizeOp, kDequantizeOp, kConvertOp;
// ops_linear.cc
extern const OpDefinition kFullyConnectedOp, kConv2dOp;
// ops_elementwise.cc
extern const OpDefinition kAddOp, kMultiplyOp, kSigmoidOp, kReluOp;
// ops_norm.cc
extern const OpDefinition kRmsNormOp;
// ops_shape.cc
extern const OpDefinition kReshapeOp, kGatherOp;

}  // namespace lutra::hostnpu
