// Intrinsics of the AVX2 tier, for the .cc files of kernels.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_X86
#include <immintrin.h>

#define LUTRA_INLINE256 LUTRA_TARGET_AVX2 __attribute__((always_inline)) inline
#endif
