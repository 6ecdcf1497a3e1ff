#include "napi/kernel_variants.h"

#include <algorithm>

#include "base/error.h"
#include "napi/packed_weight.h"

namespace lutra::addon {
namespace {

using kernels::WeightType;

constexpr WeightType kGgmlTypes[] = {WeightType::kQ4_0, WeightType::kQ4_1, WeightType::kQ8_0};

KernelVariant variant(const kernels::LowBitKernel& kernel) { return {kernel.name, kernel.family == kernels::Family::kLut ? "lut" : "dot", kernel.isa, &kernel, nullptr}; }
KernelVariant variant(const kernels::LinearKernel& kernel) { return {std::string("linear-") + kernel.name, "linear", kernel.isa, nullptr, &kernel}; }

std::string joined(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

/// Names of the variants that this machine can run on that type.
std::string usable_names(WeightType type) {
  std::vector<std::string> names;
  for (const KernelVariant& one : kernel_variants()) {
    if (one.takes(type) && isa_available(one.isa)) names.push_back(one.name);
  }
  return joined(names);
}

}  // namespace

bool KernelVariant::takes(WeightType type) const {
  const auto format = kernels::low_bit_format(type);
  if (low_bit != nullptr) return format && low_bit->takes(format->bits);
  return std::find(std::begin(kGgmlTypes), std::end(kGgmlTypes), type) != std::end(kGgmlTypes);
}

size_t KernelVariant::prepared_size(uint32_t n, uint32_t cols) const { return low_bit != nullptr ? low_bit->prepared_size(n, cols) : kernels::quantized_rows_size(n, cols); }

void KernelVariant::prepare(const float* x, uint32_t n, uint32_t cols, std::byte* out) const {
  if (low_bit != nullptr) low_bit->prepare(x, cols, n, cols, out);
  else linear->quantize_rows(x, cols, n, cols, out);
}

void KernelVariant::run(const kernels::PackedWeight& weight, const std::byte* prepared, uint32_t n, uint32_t begin, uint32_t end, float* y) const {
  (low_bit != nullptr ? low_bit->run : linear->run_quantized)(weight, prepared, n, begin, end, y, weight.rows);
}

std::vector<WeightType> kernel_weight_types() {
  std::vector<WeightType> types(std::begin(kGgmlTypes), std::end(kGgmlTypes));
  for (uint32_t code = kernels::kLowBitCode; kernels::low_bit_format(static_cast<WeightType>(code)); ++code) types.push_back(static_cast<WeightType>(code));
  return types;
}

std::vector<KernelVariant> kernel_variants() {
  std::vector<KernelVariant> all;
  for (const auto& kernel : kernels::low_bit_kernels()) all.push_back(variant(kernel));
  for (const auto& kernel : kernels::linear_kernels()) all.push_back(variant(kernel));
  return all;
}

KernelVariant chosen_variant(WeightType type, Isa isa, uint32_t n) {
  const auto format = kernels::low_bit_format(type);
  return format ? variant(kernels::low_bit_kernel(*format, isa, n)) : variant(kernels::linear_kernel(isa));
}

KernelVariant named_variant(const std::string& name, WeightType type) {
  for (KernelVariant& one : kernel_variants()) {
    if (one.name != name) continue;
    if (!one.takes(type)) throw Error(ErrorCode::kInvalidArgument, "kernel '" + name + "' does not multiply " + weight_name(type), "kernels that do: " + usable_names(type));
    if (!isa_available(one.isa)) {
      throw Error(ErrorCode::kUnsupported, "kernel '" + name + "' needs " + isa_name(one.isa) + ", which this processor lacks: " + cpu_description(), "kernels that it runs: " + usable_names(type));
    }
    return one;
  }
  throw Error(ErrorCode::kInvalidArgument, "there is no kernel '" + name + "'", "kernels of " + weight_name(type) + ": " + usable_names(type));
}

void run_tiles(const KernelVariant& kernel, const kernels::PackedWeight& weight, const std::byte* prepared, uint32_t n, float* y, ThreadPool* pool) {
  const uint32_t tiles = kernels::tile_count(weight.rows);
  if (pool == nullptr || pool->threads() == 1) return kernel.run(weight, prepared, n, 0, tiles, y);
  const uint32_t wanted = pool->threads() * ThreadPool::kTasksPerThread, grain = (tiles + wanted - 1) / wanted;
  pool->run((tiles + grain - 1) / grain, [&](uint32_t task) { kernel.run(weight, prepared, n, task * grain, std::min(tiles, (task + 1) * grain), y); });
}

}  // namespace lutra::addon
