// The functions behind `import { kernels } from 'lutra'` (lib/native/kernels-addon.ts): flat calls on handles of packed weights.
#pragma once

#include <napi.h>

namespace lutra::addon {

/// Sets `exports.kernels`. Once for each environment.
void add_kernels(Napi::Env env, Napi::Object exports);

}  // namespace lutra::addon
