#include "kernels/linear/linear_internal.h"
#include "kernels/tiers.h"

namespace lutra::kernels {
namespace {

constexpr size_t kTiers = 4;

struct Registry {
  LinearKernel kernels[kTiers];
  size_t count;
};

const Registry& registry() noexcept {
#ifdef LUTRA_X86
  static const Registry all = {{kPortableLinear, kAvx2Linear, kAvxVnniLinear, kAvx512Linear}, 4};
#elif defined(LUTRA_ARM64)
  static const Registry all = {{kPortableLinear, kNeonLinear, kDotprodLinear}, 3};
#else
  static const Registry all = {{kPortableLinear}, 1};
#endif
  return all;
}

}  // namespace

std::span<const LinearKernel> linear_kernels() noexcept { return {registry().kernels, registry().count}; }

const LinearKernel& linear_kernel(Isa isa) noexcept { return variant_of(linear_kernels(), isa); }

}  // namespace lutra::kernels
