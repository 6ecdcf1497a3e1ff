// The kernels of conversion with 16 floats at a time.
#include "kernels/ops/vector_avx512.h"

#ifdef LUTRA_X86
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/fold/fold_tiers.h"

namespace lutra::kernels {
namespace avx512 {
namespace {

LUTRA_VECTOR_INLINE Vector load_bf16(const uint16_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16)); }

#include "kernels/fold/fold_vector.inc"

}  // namespace
}  // namespace avx512

const FoldKernels& avx512_fold() noexcept {
  using namespace avx512;
  static const FoldKernels kernels{"avx512", Isa::kAvx512, widen_bf16, widen_f16, finite, rotate_rows, rotate_columns, quantize_row};
  return kernels;
}

}  // namespace lutra::kernels
#endif
