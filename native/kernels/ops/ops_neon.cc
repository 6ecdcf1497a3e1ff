// The row-wise steps with 4 floats at a time.
#include "kernels/ops/vector_neon.h"

#ifdef LUTRA_ARM64
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/ops/ops_internal.h"

namespace lutra::kernels {
namespace neon {
namespace {

#include "kernels/ops/ops_vector.inc"

#include "kernels/ops/attend_row.inc"

#include "kernels/ops/attend_block.inc"

}  // namespace
}  // namespace neon

const OpKernels& neon_ops() noexcept {
  using namespace neon;
  static const OpKernels kernels{"neon", Isa::kNeon, rms_norm, rope, silu_mul, relu_mul, add_rows, convert<float, uint16_t>, convert<uint16_t, float>, attend<uint16_t>, attend<float>,
                                 attend<int8_t>, attend_block<uint16_t>, attend_block<int8_t>, quantize<uint8_t>, quantize<uint16_t>, dequantize_8, dequantize<uint16_t>, quantize_rows};
  return kernels;
}

}  // namespace lutra::kernels
#endif
