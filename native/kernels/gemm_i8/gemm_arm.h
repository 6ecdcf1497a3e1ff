// What the ARM tiers share: the walk over rows and panels, requantising, preparing and the float forms. A tier brings its dot products.
#pragma once

#include "kernels/gemm_i8/gemm.h"

namespace lutra::kernels {

/// Byte rows that a tier takes at once, at most; even, because a row of 16-bit codes is two byte rows.
inline constexpr uint32_t kMostDotRows = 8;

struct DotRows {
  uint32_t rows;  // byte rows at once, even
  int32_t below;  // taken off every code of x: 128 where the instruction wants signed bytes
  /// sums[r · 64 + o] = Σ_k (x[r][k] − below) · w[o, k] for `count` byte rows of 4 · groups codes (more than 0) and the 64 outputs of a panel.
  void (*run)(const uint8_t* const* x, uint32_t count, const int8_t* panel, uint32_t groups, int32_t* sums);
};

/// GemmKernel::run of the quantised forms.
void gemm_run_dots(const DotRows& dots, const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
/// GemmKernel::run of the float forms.
void gemm_run_float_neon(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);

}  // namespace lutra::kernels
