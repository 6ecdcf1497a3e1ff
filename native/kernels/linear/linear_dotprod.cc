// ARMv8.2 with SDOT.
#include "kernels/linear/linear_arm.h"

#ifdef LUTRA_ARM64
#include <type_traits>
#include <utility>

#include "kernels/linear/dots_dotprod.h"

namespace lutra::kernels {
namespace dotprod {
namespace {

#include "kernels/linear/dots_arm.inc"

#include "kernels/linear/linear_arm.inc"

}  // namespace
}  // namespace dotprod

const LinearKernel kDotprodLinear = {"dotprod", Isa::kDotprod, quantize_rows_neon, dotprod::run_quantized, run_float_neon};

}  // namespace lutra::kernels
#endif
