// The functions behind `import { kernels } from 'lutra'` (lib/native/kernels-addon.ts): flat calls on handles of packed weights.
#pragma once

#include <napi.h>

namespace lutra::addon {

/// Sets `exports.kernels`. Once for each environment.
void add_kernels(Napi::Env env, Napi::Object exports);

/// The converter's `packCodes`: the same arguments and checks, the packed bytes instead of a handle.
Napi::Value pack_low_bit(const Napi::CallbackInfo& info);

}  // namespace lutra::addon
