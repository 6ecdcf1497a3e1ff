// Conversion of whole tensors between element types, as a part of other ops.
#pragma once

#include "hostnpu/plan.h"

namespace lutra::hostnpu {

struct ElementCoding {
  kernels::Element type;
  kernels::Affine affine;
};

/// Adds a stage that converts `elements` dense elements.
void plan_convert(Planner& planner, Slot from, ElementCoding x, Slot to, ElementCoding y, uint64_t elements);

}  // namespace lutra::hostnpu
