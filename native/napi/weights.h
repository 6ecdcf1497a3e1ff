// Packing and quantisation of weights: for the converter, and the parts that packed weights of the kernel API share.
#pragma once

#include <napi.h>

#include <cstddef>
#include <span>

#include "kernels/lowbit/lowbit.h"

namespace lutra::addon {

/// The weight type of a dtype code of the plan. Throws Error(kInvalidArgument).
kernels::WeightType weight_type(uint32_t code);
/// Bytes of rows of ggml blocks, or of plain floats.
size_t ggml_bytes(kernels::WeightType type, size_t rows, size_t cols);
/// kernels::packed_size, where none is Error(kInvalidArgument).
size_t checked_packed_size(kernels::WeightType type, uint32_t rows, uint32_t cols);
/// Quantises `w` [rows, cols], which is finite, on `threads` threads, and packs it; `out` has checked_packed_size bytes.
void quantize_and_pack(const kernels::LowBitFormat& format, const float* w, const float* importance, uint32_t rows, uint32_t cols, uint32_t threads, std::span<std::byte> out);

Napi::Value pack_ggml(const Napi::CallbackInfo& info);
Napi::Value dequantize_packed(const Napi::CallbackInfo& info);
Napi::Value quantize_low_bit(const Napi::CallbackInfo& info);
Napi::Value fold_s8(const Napi::CallbackInfo& info);
Napi::Value widen(const Napi::CallbackInfo& info);

}  // namespace lutra::addon
