// Entry points of the addon (lib/native/addon.ts). The only folder that includes napi.h.
#include <napi.h>
#include <sys/resource.h>

#include "base/cores.h"
#include "base/cpu.h"
#include "kernels/linear/linear.h"
#include "napi/arguments.h"
#include "napi/compare_logits.h"
#include "napi/engine_object.h"
#include "napi/kernels_api.h"
#include "napi/qnn_api.h"
#include "napi/weights.h"
#include "plan/plan.h"

namespace lutra::addon {
namespace {

Napi::Value qnn_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const auto options = npu_options(Arguments(info).object(0));
    if (options.kind == session::NpuOptions::Kind::kNone) throw Error(ErrorCode::kInvalidArgument, "npu kind 'none' has no library");
    ThreadPool pool(1);
    const auto device = session::open_npu(options, pool, {});
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("backend", backend_info(info.Env(), device->backend()->library().info()));
    Napi::Array operations = Napi::Array::New(info.Env());
    for (const std::string& name : device->backend()->supported_operations()) operations.Set(operations.Length(), name);
    out.Set("operations", operations);
    return out;
  });
}

Napi::Value plan_schema(const Napi::CallbackInfo& info) {
  Napi::Object out = Napi::Object::New(info.Env());
  Napi::Array steps = Napi::Array::New(info.Env());
  for (const char* name : plan::kStepNames) steps.Set(steps.Length(), name);
  out.Set("steps", steps);
  Napi::Object words = Napi::Object::New(info.Env());
  words.Set("tensors", plan::kTensorWords);
  words.Set("segments", plan::kSegmentWords);
  words.Set("nodes", plan::kNodeWords);
  words.Set("steps", plan::kStepWords);
  words.Set("programs", plan::kProgramWords);
  out.Set("recordWords", words);
  return out;
}

Napi::Value check_plan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    // A copy: shared memory may change while it is read.
    const auto view = Arguments(info).array<const std::byte>(0, "plan", napi_uint8_array);
    plan::Plan::parse(std::vector(view.begin(), view.end()));
    return info.Env().Undefined();
  });
}

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Object out = Napi::Object::New(info.Env());
    out.Set("description", cpu_description());
    out.Set("isa", isa_name(best_isa()));
    out.Set("bigCores", static_cast<double>(find_cores().big.size()));
    Napi::Array kernels = Napi::Array::New(info.Env());
    for (const auto& kernel : kernels::linear_kernels()) {
      if (isa_available(kernel.isa)) kernels.Set(kernels.Length(), kernel.name);
    }
    out.Set("kernels", kernels);
    return out;
  });
}

Napi::Value peak_rss(const Napi::CallbackInfo& info) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return Napi::Number::New(info.Env(), static_cast<double>(usage.ru_maxrss) * 1024.0);
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) { exports.Set(name, Napi::Function::New(env, function, name)); };
  add("openEngine", open_engine);
  add("qnnInfo", qnn_info);
  add("planSchema", plan_schema);
  add("checkPlan", check_plan);
  add("packGgml", pack_ggml);
  add("packLowBit", pack_low_bit);
  add("quantizeLowBit", quantize_low_bit);
  add("dequantizePacked", dequantize_packed);
  add("foldS8", fold_s8);
  add("widen", widen);
  add("compareLogits", compare_logits);
  add("cpuInfo", cpu_info);
  add("peakRss", peak_rss);
  add_qnn(env, exports);
  add_kernels(env, exports);
  return exports;
}

}  // namespace
}  // namespace lutra::addon

static Napi::Object lutra_init(Napi::Env env, Napi::Object exports) { return lutra::addon::init(env, exports); }
NODE_API_MODULE(lutra, lutra_init)
