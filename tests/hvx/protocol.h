// What the test of the HVX kernels (a program of the host) and the program that runs them (Hexagon) tell each other: requests in a file, answers in another. Both are little endian.
#pragma once

#include <stdint.h>

#include "kernels/hvx/lutra_hvx.h"

namespace lutra::hvx {

enum Operation : uint32_t {
  kGemv,        // canonical weight, x → packed weight, y of the tiles
  kDequantize,  // canonical weight → packed weight, F16 values of the tiles
  kRefusals,    // nothing → two words: calls with wrong arguments, and how many of these were not answered as they should
};

/// Starts a request: `canonical` bytes of a weight and `activations` floats follow.
struct Request {
  uint32_t operation;
  lutra_hvx_weight weight;
  uint32_t tile_begin, tile_end;
  uint32_t stride;  // of the values, in elements
  uint32_t canonical, activations;
};

/// Starts an answer: `bytes` follow. `damage`: bytes around the buffers that have changed.
struct Answer {
  uint32_t status, damage, bytes;
};

}  // namespace lutra::hvx
