#include "kernels/ops/ops_internal.h"
#include "kernels/tiers.h"

namespace lutra::kernels {
namespace {

#if defined(LUTRA_X86)
const OpKernels* table() noexcept {
  static const OpKernels kernels[] = {portable_ops(), avx2_ops(), avx512_ops()};
  return kernels;
}
constexpr size_t kCount = 3;
#elif defined(LUTRA_ARM64)
const OpKernels* table() noexcept {
  static const OpKernels kernels[] = {portable_ops(), neon_ops()};
  return kernels;
}
constexpr size_t kCount = 2;
#else
const OpKernels* table() noexcept { return &portable_ops(); }
constexpr size_t kCount = 1;
#endif

}  // namespace

std::span<const OpKernels> op_kernels() noexcept { return {table(), kCount}; }

const OpKernels& op_kernel(Isa isa) noexcept { return variant_of(op_kernels(), isa); }

size_t attend_scratch(uint32_t group, uint32_t length) noexcept { return static_cast<size_t>(std::min(group, kMostHeadQueries)) * length; }

size_t attend_block_scratch(uint32_t head_dim, uint32_t group, uint32_t rows, uint32_t max_length) noexcept {
  const size_t queries = round_up_lanes(static_cast<size_t>(group) * rows), dims = round_up_lanes(head_dim);
  // Qᵀ, the tiles of K and V, the scores, the outputs, and per query: largest score, sum, rescaling, length.
  const size_t vectors = dims * queries + 2 * kAttendTile * dims + kAttendTile * queries + queries * dims + 4 * queries;
  return std::max(vectors, round_up_lanes(max_length));  // the portable tier holds the scores of one row
}

}  // namespace lutra::kernels
