// Segments of a decoder layer of SmolLM2-135M's shape, in the precisions that plans use, with random weights.
#pragma once

#include <string>
#include <vector>

#include "conformance/spec.h"

namespace lutra::conformance {

/// Precision of a linear and where its output goes.
enum class Kind {
  kA8,        // w8a8: U8 in and out, FullyConnected
  kA8Shadow,  // w8a8s: S8 in and out, Conv2d between Reshapes; outputs that the CPU repairs leave the graph as integers
  kA16,       // w8a16
  kF16,       // w8f16
};

struct SegmentCase {
  std::string name;
  Kind qkv, o, gateup, down;
  bool whole;  // o, residual, norm, MLP, residual and the next layer's norm, q, k, v; otherwise the first norm, q, k, v alone
};

const std::vector<SegmentCase>& segment_cases();

GraphSpec segment_graph(const SegmentCase& segment, uint32_t seed, Rounding rounding);

}  // namespace lutra::conformance
