// Which kind of node a node is, as far as libraries treat nodes differently: the key under which they are measured, and under which a node is refused.
#pragma once

#include <span>
#include <string>

#include "qnn/graph.h"

namespace lutra::qnn {

/// "MatMul(u8, s8 constant axis) -> u8": op with its `operation`, then type, role and kind of encoding of each tensor (of Concat, Pack and of outputs each kind once). Where a
/// condition holds that a library's result is known to depend on, a property of shapes, offsets or parameters, it stands for the rest: "RmsNorm [more than 8 rows in a dimension
/// before the last of rows]". Ranks and lengths do not count otherwise: what is wrong is wrong in every shape that no condition tells apart. `inputs` and `outputs` are the
/// node's tensors in the interface's form; the node's own lists are not looked at.
std::string form_of(const NodeDesc& node, std::span<const abi::Tensor> inputs, std::span<const abi::Tensor> outputs);

/// The same of tensors as they are described.
std::string form_of(const NodeDesc& node, std::span<const TensorRecord* const> inputs, std::span<const TensorRecord* const> outputs);

}  // namespace lutra::qnn
