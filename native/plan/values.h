// The numbers that the bytes of an activation stand for.
#pragma once

#include <cstddef>
#include <vector>

#include "plan/plan.h"

namespace lutra::plan {

/// The first `count` elements of `tensor` at `data`: floats as they are, integers as the reals that they stand for.
std::vector<float> real_values(const Tensor& tensor, const std::byte* data, size_t count);

}  // namespace lutra::plan
