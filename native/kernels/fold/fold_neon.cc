// The kernels of conversion with 4 floats at a time.
#include "kernels/ops/vector_neon.h"

#ifdef LUTRA_ARM64
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/fold/fold_tiers.h"

namespace lutra::kernels {
namespace neon {
namespace {

LUTRA_VECTOR_INLINE Vector load_bf16(const uint16_t* p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }

#include "kernels/fold/fold_vector.inc"

}  // namespace
}  // namespace neon

const FoldKernels& neon_fold() noexcept {
  using namespace neon;
  static const FoldKernels kernels{"neon", Isa::kNeon, widen_bf16, widen_f16, finite, rotate_rows, rotate_columns, quantize_row};
  return kernels;
}

}  // namespace lutra::kernels
#endif
