// VPDPBUSD on registers of 256 bits.
#include "kernels/linear/linear_avx2.h"

#ifdef LUTRA_X86
#include "kernels/linear/dots_avxvnni.h"

namespace lutra::kernels {
namespace avxvnni {
namespace {

#include "kernels/linear/dots_256.inc"

#include "kernels/linear/linear_256.inc"

}  // namespace
}  // namespace avxvnni

const LinearKernel kAvxVnniLinear = {"avxvnni", Isa::kAvxVnni, quantize_rows_avx2, avxvnni::run_quantized, run_float_avx2};

}  // namespace lutra::kernels
#endif
