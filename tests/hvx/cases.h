// Random weights and activations for the HVX kernels, and the extreme ones.
#pragma once

#include <random>

#include "protocol.h"
#include "reference.h"

namespace lutra::hvx {

struct Case {
  Operation operation;
  Codes weight;
  std::vector<float> x;
  uint32_t tile_begin, tile_end, stride;
  double most_error;  // NMSE against exact arithmetic; infinite where activations are none that a layer has

  lutra_hvx_weight shape() const;
};

/// `count` random cases of an operation with weights of `bits` bits, and a few more at the ends of what is taken.
std::vector<Case> cases_of(Operation operation, uint8_t bits, uint32_t count, std::mt19937_64& random);

}  // namespace lutra::hvx
