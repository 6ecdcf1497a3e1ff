// The tiers of npu_ops.h, private to this folder.
#pragma once

#include "kernels/npu_ops/npu_ops.h"

namespace lutra::kernels {

#ifdef LUTRA_X86
extern const NpuOpKernels kNpuOpsAvx2;
extern const NpuOpKernels kNpuOpsAvx512;
#endif
#ifdef LUTRA_ARM64
extern const NpuOpKernels kNpuOpsNeon;
#endif

}  // namespace lutra::kernels
