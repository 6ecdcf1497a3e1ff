#include "kernels/fold/fold_tiers.h"
#include "kernels/tiers.h"

namespace lutra::kernels {

std::span<const FoldKernels> fold_kernels() noexcept {
#if defined(LUTRA_X86)
  static const FoldKernels kernels[] = {portable_fold(), avx2_fold(), avx512_fold()};
#elif defined(LUTRA_ARM64)
  static const FoldKernels kernels[] = {portable_fold(), neon_fold()};
#else
  static const FoldKernels kernels[] = {portable_fold()};
#endif
  return kernels;
}

const FoldKernels& fold_kernel(Isa isa) noexcept { return variant_of(fold_kernels(), isa); }

}  // namespace lutra::kernels
