// The JavaScript face of a session::Engine: calls run on the engine's own thread, promises settle on JavaScript's.
#pragma once

#include <napi.h>

#include "session/engine.h"

namespace lutra::addon {

session::NpuOptions npu_options(const Napi::Object& npu);
Napi::Object backend_info(Napi::Env env, const qnn::LibraryInfo& info);

/// openEngine(options): Promise of an engine object (lib/native/addon.ts, NativeEngine).
Napi::Value open_engine(const Napi::CallbackInfo& info);

}  // namespace lutra::addon
