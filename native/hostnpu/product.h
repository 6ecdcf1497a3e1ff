// Matrix products over packed weights (kernels/gemm_i8): what FullyConnected, MatMul and Conv2d come down to.
#pragma once

#include <cstdint>
#include <vector>

#include "hostnpu/plan.h"

namespace lutra::hostnpu {

/// y = x · w, once for each batch. x is rows of `depth` elements that follow on each other.
struct Product {
  struct Batch {
    uint32_t x = 0;       // its first row of x
    uint32_t weight = 0;  // index into `weights`
    size_t y = 0;         // its first element of y
  };
  uint32_t rows = 0, depth = 0, outputs = 0;      // of a batch
  kernels::Element type = kernels::Element::kU8;  // of x and y
  /// Element (o, k) of a weight is at weights[i] + o · output_stride + k · depth_stride.
  std::vector<size_t> weights = {0};
  size_t output_stride = 0, depth_stride = 1;
  std::vector<Batch> batches = {{}};
  size_t y_stride = 0;            // elements between rows of y
  bool outputs_differ = false;    // weight i is for outputs [i · outputs, (i + 1) · outputs) of the scales and biases, not for all the same ones
  int32_t weight_axis = 0;        // where scales per output would be

  uint32_t all_outputs() const noexcept { return outputs_differ ? outputs * static_cast<uint32_t>(weights.size()) : outputs; }
};

/// Refuses types, encodings and biases that there is no product for: x, w, the output and, unless it is NULL, the bias.
void check_product(const Product& product, const TensorInfo& x, const TensorInfo& w, const TensorInfo* bias, const TensorInfo& y);

/// Adds the stages. `x` is where the rows lie: the tensor's slot, or what a stage made of it.
void plan_product(const Node& node, const Product& product, Slot x, Planner& planner);

}  // namespace lutra::hostnpu
