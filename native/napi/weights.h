// Packing and quantisation of weights for the converter.
#pragma once

#include <napi.h>

namespace lutra::addon {

Napi::Value pack_ggml(const Napi::CallbackInfo& info);
Napi::Value dequantize_packed(const Napi::CallbackInfo& info);
Napi::Value quantize_low_bit(const Napi::CallbackInfo& info);
Napi::Value quantize_s8(const Napi::CallbackInfo& info);

}  // namespace lutra::addon
