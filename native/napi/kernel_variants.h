// The kernels that multiply packed weights, of both registries: low-bit formats (kernels/lowbit) and the block types of ggml (kernels/linear).
#pragma once

#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/linear/linear.h"
#include "kernels/lowbit/lowbit.h"

namespace lutra::addon {

struct KernelVariant {
  std::string name;    // "lut-avx2", "linear-avx2"
  std::string family;  // "lut", "dot", "linear"
  Isa isa;
  const kernels::LowBitKernel* low_bit = nullptr;  // one of the two
  const kernels::LinearKernel* linear = nullptr;

  bool takes(kernels::WeightType type) const;
  size_t prepared_size(uint32_t n, uint32_t cols) const;
  void prepare(const float* x, uint32_t n, uint32_t cols, std::byte* out) const;
  /// y [n, rows] of the tiles [begin, end).
  void run(const kernels::PackedWeight& weight, const std::byte* prepared, uint32_t n, uint32_t begin, uint32_t end, float* y) const;
};

/// All types that they multiply: the 48 low-bit formats and the three of ggml.
std::vector<kernels::WeightType> kernel_weight_types();
/// All variants of this build, available or not.
std::vector<KernelVariant> kernel_variants();
/// What the registries run on `isa`.
KernelVariant chosen_variant(kernels::WeightType type, Isa isa, uint32_t n);
/// The one of that name. Throws Error(kInvalidArgument) when there is none or it does not take the type, Error(kUnsupported) when the processor lacks its instructions.
KernelVariant named_variant(const std::string& name, kernels::WeightType type);

/// Runs a prepared product: every thread streams tiles that lie side by side, in ThreadPool::kTasksPerThread tasks.
void run_tiles(const KernelVariant& kernel, const kernels::PackedWeight& weight, const std::byte* prepared, uint32_t n, float* y, ThreadPool* pool);

}  // namespace lutra::addon
