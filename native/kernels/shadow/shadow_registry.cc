#include "kernels/shadow/shadow_internal.h"
#include "kernels/tiers.h"

namespace lutra::kernels {
namespace {

struct Registry {
  ShadowKernel kernels[3];
  size_t count;
};

const Registry& registry() noexcept {
#ifdef LUTRA_X86
  static const Registry all = {{kPortableShadow, kAvx2Shadow, kAvx512Shadow}, 3};
#elif defined(LUTRA_ARM64)
  static const Registry all = {{kPortableShadow, kNeonShadow}, 2};
#else
  static const Registry all = {{kPortableShadow}, 1};
#endif
  return all;
}

}  // namespace

std::span<const ShadowKernel> shadow_kernels() noexcept { return {registry().kernels, registry().count}; }

const ShadowKernel& shadow_kernel(Isa isa) noexcept { return variant_of(shadow_kernels(), isa); }

}  // namespace lutra::kernels
