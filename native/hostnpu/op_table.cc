#include "hostnpu/op.h"

namespace lutra::hostnpu {
namespace {

constexpr const OpDefinition* kTable[] = {
    &kQuantizeOp, &kDequantizeOp, &kConvertOp, &kFullyConnectedOp, &kConv2dOp, &kRmsNormOp, &kAddOp, &kMultiplyOp, &kSigmoidOp, &kReluOp, &kReshapeOp, &kGatherOp,
};

}  // namespace

std::span<const OpDefinition* const> op_definitions() noexcept { return kTable; }

const OpDefinition* find_op(std::string_view type) noexcept {
  for (const OpDefinition* op : kTable) {
    if (type == op->type) return op;
  }
  return nullptr;
}

}  // namespace lutra::hostnpu
