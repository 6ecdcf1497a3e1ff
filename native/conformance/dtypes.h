// Short names of the element types, for tables.
#pragma once

#include "conformance/tensor.h"

namespace lutra::conformance {

inline constexpr DT kU8 = DT::kUfixed8, kS8 = DT::kSfixed8, kU16 = DT::kUfixed16, kS16 = DT::kSfixed16, kS32 = DT::kSfixed32, kF16 = DT::kFloat16, kF32 = DT::kFloat32, kI32 = DT::kInt32,
                    kU32 = DT::kUint32, kBool = DT::kBool8;

}  // namespace lutra::conformance
