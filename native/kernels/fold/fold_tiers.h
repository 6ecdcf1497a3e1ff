// The tables of the tiers.
#pragma once

#include "kernels/fold/fold.h"

namespace lutra::kernels {

const FoldKernels& portable_fold() noexcept;
const FoldKernels& avx2_fold() noexcept;
const FoldKernels& avx512_fold() noexcept;
const FoldKernels& neon_fold() noexcept;

}  // namespace lutra::kernels
