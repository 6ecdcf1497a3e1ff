// The kernels of conversion with 8 floats at a time.
#include "kernels/ops/vector_avx2.h"

#ifdef LUTRA_X86
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/fold/fold_tiers.h"

namespace lutra::kernels {
namespace avx2 {
namespace {

LUTRA_VECTOR_INLINE Vector load_bf16(const uint16_t* p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))), 16)); }

#include "kernels/fold/fold_vector.inc"

}  // namespace
}  // namespace avx2

const FoldKernels& avx2_fold() noexcept {
  using namespace avx2;
  static const FoldKernels kernels{"avx2", Isa::kAvx2, widen_bf16, widen_f16, finite, rotate_rows, rotate_columns, quantize_row};
  return kernels;
}

}  // namespace lutra::kernels
#endif
