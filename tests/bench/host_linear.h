// One FullyConnected node on libQnnHost, run as any QNN client runs it, on one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "kernels/gemm_i8/gemm.h"
#include "qnn/graph.h"

namespace lutra::bench {

/// A linear layer y[rows, outputs] = x[rows, depth] · w[outputs, depth]ᵀ, x and y of `type`, w as `layout` says.
struct Linear {
  kernels::Element type;
  kernels::GemmLayout layout;
  uint32_t rows, outputs, depth;
};

class HostLinear {
 public:
  /// The kernels are those that LUTRA_FORCE_KERNEL names at this moment. `x` and `w` must live as long as the object.
  HostLinear(std::shared_ptr<const qnn::Library> library, const Linear& linear, std::span<const std::byte> x, std::span<const std::byte> w);
  void execute();
  std::span<const std::byte> output() const noexcept { return {y_.data(), y_.size()}; }

 private:
  std::optional<qnn::Graph> graph_;
  AlignedBuffer y_;
  std::vector<std::span<const std::byte>> inputs_;
  std::vector<std::span<std::byte>> outputs_;
};

}  // namespace lutra::bench
