// ARMv8.0, with sums in 16 bits.
#include "kernels/lowbit/lowbit_arm.h"

#ifdef LUTRA_ARM64
#include <type_traits>
#include <utility>

#include "kernels/linear/dots_neon.h"

namespace lutra::kernels {
namespace neon {
namespace {

#include "kernels/linear/dots_arm.inc"

#include "kernels/lowbit/lowbit_arm.inc"

}  // namespace
}  // namespace neon

const LowBitKernel kNeonLut = neon::lut_kernel("lut-neon", Isa::kNeon), kNeonDot = neon::dot_kernel("dot-neon", Isa::kNeon);

}  // namespace lutra::kernels
#endif
