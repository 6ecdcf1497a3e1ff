// Dot products with VPDPBUSD on registers of 256 bits. Tables are those of AVX2: their look-ups of half a word keep two rows in a lane, whose four products it would add.
#include "kernels/lowbit/lowbit_avx2.h"

#ifdef LUTRA_X86
#include <algorithm>

#include "kernels/linear/dots_avxvnni.h"

namespace lutra::kernels {
namespace avxvnni {
namespace {

#include "kernels/linear/dots_256.inc"

#include "kernels/lowbit/lowbit_256.inc"

}  // namespace
}  // namespace avxvnni

const LowBitKernel kAvxVnniDot = avxvnni::dot_kernel("dot-avxvnni", Isa::kAvxVnni);

}  // namespace lutra::kernels
#endif
