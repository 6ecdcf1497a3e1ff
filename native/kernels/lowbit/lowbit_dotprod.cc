// ARMv8.2 with SDOT: of looked-up entries with the weights of their planes, or of codes with four columns of x.
#include "kernels/lowbit/lowbit_arm.h"

#ifdef LUTRA_ARM64
#include <type_traits>
#include <utility>

#include "kernels/linear/dots_dotprod.h"

namespace lutra::kernels {
namespace dotprod {
namespace {

#include "kernels/linear/dots_arm.inc"

#include "kernels/lowbit/lowbit_arm.inc"

}  // namespace
}  // namespace dotprod

const LowBitKernel kDotprodLut = dotprod::lut_kernel("lut-dotprod", Isa::kDotprod), kDotprodDot = dotprod::dot_kernel("dot-dotprod", Isa::kDotprod);

}  // namespace lutra::kernels
#endif
