// One NPU segment of a plan as a QNN graph.
#pragma once

#include <memory>

#include "plan/plan.h"
#include "qnn/graph.h"
#include "store/weight_store.h"

namespace lutra::session {

/// An input or output of a segment as the interface describes it.
qnn::TensorDesc io_desc(const plan::Tensor& tensor);

/// Builds and finalizes the graph; inputs and outputs in the segment's order. Throws Error as qnn does, naming the segment's node.
qnn::Graph build_segment(const plan::Plan& plan, const plan::Segment& segment, const store::WeightStore& weights, std::shared_ptr<const qnn::Context> context);

}  // namespace lutra::session
