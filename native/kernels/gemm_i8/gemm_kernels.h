// The tiers of gemm.h, private to this folder: one file each.
#pragma once

#include "kernels/gemm_i8/gemm.h"

namespace lutra::kernels {

void gemm_prepare_portable(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out);
void gemm_run_portable(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
#ifdef LUTRA_X86
void gemm_prepare_avx2(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out);
void gemm_run_avx2(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
void gemm_run_float_avx2(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
void gemm_run_avxvnni(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
void gemm_prepare_avx512(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out);
void gemm_run_avx512(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
#endif
#ifdef LUTRA_ARM64
void gemm_prepare_neon(Element type, const std::byte* x, size_t x_stride, uint32_t depth, uint32_t row_begin, uint32_t row_end, std::byte* out);
void gemm_run_neon(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
void gemm_run_dotprod(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
void gemm_run_i8mm(const GemmArgs& args, uint32_t row_begin, uint32_t row_end, uint32_t panel_begin, uint32_t panel_end);
#endif

}  // namespace lutra::kernels
