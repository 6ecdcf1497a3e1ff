// Intrinsics of the AVX-512 tiers. For the .cc files of kernels only: the warnings that it turns off stay off in the whole file.
#pragma once

#include "base/cpu.h"

#ifdef LUTRA_X86
// The headers of GCC 12 warn of their own deliberately undefined operands (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define LUTRA_INLINE512 LUTRA_TARGET_AVX512 __attribute__((always_inline)) inline
#endif
