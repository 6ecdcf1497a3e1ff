// ARMv8.0, with sums in 16 bits.
#include "kernels/linear/linear_arm.h"

#ifdef LUTRA_ARM64
#include <type_traits>
#include <utility>

#include "kernels/linear/dots_neon.h"

namespace lutra::kernels {
namespace neon {
namespace {

#include "kernels/linear/dots_arm.inc"

#include "kernels/linear/linear_arm.inc"

}  // namespace
}  // namespace neon

const LinearKernel kNeonLinear = {"neon", Isa::kNeon, quantize_rows_neon, neon::run_quantized, run_float_neon};

}  // namespace lutra::kernels
#endif
