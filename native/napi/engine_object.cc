#include "napi/engine_object.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "napi/arguments.h"
#include "napi/engine_handle.h"
#include "napi/qnn_log.h"
#include "napi/qnn_values.h"

namespace lutra::addon {
namespace {

session::LogitsWanted logits_wanted(const std::string& name) {
  if (name == "none") return session::LogitsWanted::kNone;
  if (name == "last") return session::LogitsWanted::kLast;
  if (name == "all") return session::LogitsWanted::kAll;
  throw Error(ErrorCode::kInvalidArgument, "logits '" + name + "' is neither none, last nor all");
}

Napi::Float32Array to_array(Napi::Env env, const std::vector<float>& values) {
  auto array = Napi::Float32Array::New(env, values.size());
  std::copy(values.begin(), values.end(), array.Data());
  return array;
}

Napi::Object timings_object(Napi::Env env, const session::Timings& t) {
  Napi::Object o = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) { o.Set(name, Napi::Number::New(env, value)); };
  const auto sum = [&](auto field) { return static_cast<double>(t.prefill.*field + t.decode.*field); };
  set("prefillTokens", t.prefill_tokens);
  set("prefillMs", t.prefill_ms);
  set("decodeTokens", t.decode_tokens);
  set("draftedTokens", t.drafted_tokens);
  set("acceptedTokens", t.accepted_tokens);
  set("decodeMs", t.decode_ms);
  set("npuMs", sum(&plan::RunStats::npu_ns) * 1e-6);
  set("graphCalls", sum(&plan::RunStats::graph_calls));
  set("cpuMs", sum(&plan::RunStats::cpu_ns) * 1e-6);
  set("prefillCpuMs", static_cast<double>(t.prefill.cpu_ns) * 1e-6);
  set("decodeCpuMs", static_cast<double>(t.decode.cpu_ns) * 1e-6);
  set("prefillAttentionMs", static_cast<double>(t.prefill.attention_ns) * 1e-6);
  set("decodeAttentionMs", static_cast<double>(t.decode.attention_ns) * 1e-6);
  set("shadowMs", sum(&plan::RunStats::shadow_ns) * 1e-6);
  set("repairedInputs", static_cast<double>(t.prefill.shadow.repaired_inputs));
  set("hotInputs", static_cast<double>(t.prefill.shadow.hot_inputs));
  set("repairedOutputs", static_cast<double>(t.prefill.shadow.repaired_outputs));
  return o;
}

Napi::Object info_object(Napi::Env env, const session::EngineInfo& info) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("backend", info.backend ? Napi::Value(backend_info(env, *info.backend)) : env.Null());
  Napi::Array segments = Napi::Array::New(env);
  for (const auto& s : info.segments) {
    Napi::Object segment = Napi::Object::New(env);
    segment.Set("name", s.name);
    segment.Set("nodes", Napi::Number::New(env, static_cast<double>(s.nodes)));
    segment.Set("where", info.backend->provider);
    segments.Set(segments.Length(), segment);
  }
  o.Set("segments", segments);
  o.Set("context", !info.backend ? "none" : info.from_cache ? "loaded" : "built");
  Napi::Object load = Napi::Object::New(env);
  load.Set("map", info.map_ms);
  load.Set("plan", info.plan_ms);
  load.Set("graphs", info.graphs_ms);
  o.Set("loadMs", load);
  Napi::Object bytes = Napi::Object::New(env);
  bytes.Set("weights", static_cast<double>(info.weight_bytes));
  bytes.Set("activations", static_cast<double>(info.activation_bytes));
  bytes.Set("kvCache", static_cast<double>(info.kv_bytes));
  bytes.Set("shadow", static_cast<double>(info.shadow.weights));
  bytes.Set("shadowPinned", static_cast<double>(info.shadow.pinned));
  o.Set("bytes", bytes);
  o.Set("kernels", info.kernels);
  return o;
}

/// Wraps a handle in a JavaScript object whose methods are closures over it. The environment closes the handle when it ends before dispose().
class EngineObject {
 public:
  EngineObject(Napi::Env env, std::shared_ptr<EngineHandle> handle) : env_(env), handle_(std::move(handle)) {}

  Napi::Object make() {
    object_ = Napi::Object::New(env_);
    method("info", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return info_object(i.Env(), h.engine()->info()); });
    method("timings", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return timings_object(i.Env(), h.engine()->timings()); });
    method("length", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.require_idle();
      return Napi::Number::New(i.Env(), h.engine()->length());
    });
    method("prefill", prefill);
    method("checkNpu", check_npu);
    method("generate", generate);
    method("acknowledge", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.acknowledge(i.Env(), Arguments(i).u32(0, "count"));
      return i.Env().Undefined();
    });
    method("stop", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.stop(i.Env());
      return i.Env().Undefined();
    });
    method("truncate", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.require_idle();
      h.engine()->truncate(Arguments(i).u32(0, "length"));
      return i.Env().Undefined();
    });
    method("peek", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.require_idle();
      return to_array(i.Env(), h.engine()->peek(Arguments(i).string(0, "tensor")));
    });
    method("observations", observations);
    method("restoreObservations", restore_observations);
    method("dispose", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return h.dispose(i.Env()); });
    return object_;
  }

 private:
  using Method = Napi::Value (*)(EngineHandle&, const Napi::CallbackInfo&);

  void method(const char* name, Method body) {
    object_.Set(name, Napi::Function::New(env_, [handle = handle_, body](const Napi::CallbackInfo& info) -> Napi::Value {
      return guarded(info.Env(), [&] { return body(*handle, info); });
    }, name));
  }

  static Napi::Value prefill(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    const Arguments arguments(info);
    const auto view = arguments.array<uint32_t>(0, "tokens", napi_uint32_array);
    std::vector<uint32_t> tokens(view.begin(), view.end());
    const auto wanted = logits_wanted(arguments.string(1, "logits"));
    h.engine()->clear_stop();
    return h.run(info.Env(), [engine = h.engine(), tokens = std::move(tokens), wanted, program = arguments.string(2, "program")] { return engine->prefill(tokens, wanted, program); },
                 [](Napi::Env env, EngineHandle&, const std::vector<float>& logits) -> Napi::Value { return to_array(env, logits); });
  }

  static Napi::Value check_npu(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    h.engine()->clear_stop();
    return h.run(info.Env(), [engine = h.engine()] { return engine->check_npu(); },
                 [](Napi::Env env, EngineHandle&, const session::NpuVerdict& verdict) -> Napi::Value {
                   Napi::Object r = Napi::Object::New(env);
                   r.Set("right", verdict.right);
                   r.Set("segments", Napi::Number::New(env, static_cast<double>(verdict.segments)));
                   r.Set("error", Napi::Number::New(env, verdict.error));
                   r.Set("what", verdict.what);
                   return r;
                 });
  }

  static Napi::Value generate(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    const Arguments arguments(info);
    const Napi::Object o = arguments.object(0);
    session::GenerateOptions options{u32(o, "maxTokens"),
                                     {static_cast<float>(number(o, "temperature")), u32(o, "topK"), static_cast<float>(number(o, "topP")), static_cast<float>(number(o, "minP")),
                                      static_cast<float>(number(o, "repetitionPenalty")), static_cast<uint64_t>(number(o, "seed"))},
                                     u32(o, "repetitionWindow"), u32s(o, "stopTokens"), u32(o, "runAhead"),
                                     o.Get("logprobs").IsUndefined() ? std::nullopt : std::optional(u32(o, "logprobs")), u32(o, "draftTokens")};
    const auto deliver = h.token_sink(arguments.function(1, "onToken"), std::max(1u, options.run_ahead));
    h.engine()->clear_stop();
    return h.run(info.Env(), [engine = h.engine(), options = std::move(options), deliver] { return engine->generate(options, deliver); },
                 [](Napi::Env env, EngineHandle&, const session::Engine::Generated& result) -> Napi::Value {
                   Napi::Object r = Napi::Object::New(env);
                   r.Set("reason", session::finish_reason_name(result.reason));
                   r.Set("tokens", Napi::Number::New(env, result.tokens));
                   return r;
                 });
  }

  /// Into the arrays that an earlier call made, when it is given them: a megabyte per layer that need not be made again.
  static Napi::Value observations(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    Napi::Array sites = info[0].IsArray() ? info[0].As<Napi::Array>() : Napi::Array::New(info.Env());
    for (const auto& [site, o] : h.engine()->observations()) {
      if (!sites.Get(site).IsTypedArray()) sites.Set(site, Napi::Float64Array::New(info.Env(), o.value_count()));
      o.values(site_values(sites, site));
    }
    return sites;
  }

  static Napi::Value restore_observations(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    if (!info[0].IsArray()) throw Error(ErrorCode::kInvalidArgument, "observations are not a list");
    const auto sites = info[0].As<Napi::Array>();
    for (auto& [site, o] : h.engine()->observations()) o.restore(site_values(sites, site));
    return info.Env().Undefined();
  }

  static std::span<double> site_values(const Napi::Array& sites, uint32_t site) {
    const Napi::Value value = sites.Get(site);
    const std::string name = "observation " + std::to_string(site);
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float64_array) throw Error(ErrorCode::kInvalidArgument, name + " is no Float64Array");
    const std::span<std::byte> memory = array_bytes(value, name);
    return {reinterpret_cast<double*>(memory.data()), memory.size() / sizeof(double)};
  }

  Napi::Env env_;
  std::shared_ptr<EngineHandle> handle_;
  Napi::Object object_;
};

qnn::LogOptions log_options(const Napi::Object& options, EngineHandle& handle) {
  const Napi::Value sink = options.Get("onLog");
  if (!sink.IsFunction()) return {};
  const auto level = options.Get("logLevel").IsNumber() ? u32(options, "logLevel") : static_cast<uint32_t>(qnn::abi::LogLevel::kWarn);
  return {LogPipe::create(options.Env(), sink.As<Napi::Function>(), handle.environment()), static_cast<qnn::abi::LogLevel>(level)};
}

/// Only what is not ours can hang.
std::optional<std::chrono::milliseconds> npu_timeout(const Napi::Object& options, const session::NpuOptions& npu) {
  if (npu.kind != session::NpuOptions::Kind::kLibrary || !options.Get("npuTimeoutMs").IsNumber()) return std::nullopt;
  return std::chrono::milliseconds(u32(options, "npuTimeoutMs"));
}

session::NpuOptions npu_of(const Napi::Object& options) {
  if (!options.Get("npu").IsObject()) throw Error(ErrorCode::kInvalidArgument, "npu is not an object");
  return npu_options(options.Get("npu").As<Napi::Object>());
}

plan::ShadowResidency shadow_residency(const std::string& name) {
  if (name == "all") return plan::ShadowResidency::kAll;
  if (name == "hot") return plan::ShadowResidency::kHot;
  if (name == "disk") return plan::ShadowResidency::kDisk;
  throw Error(ErrorCode::kInvalidArgument, "shadowResidency '" + name + "' is neither all, hot nor disk");
}

session::EngineOptions engine_options(const Napi::Object& o, EngineHandle& handle) {
  session::EngineOptions options;
  options.plan = bytes(o, "plan");
  options.files = strings(o, "files");
  options.npu = npu_of(o);
  options.watch = handle.watch();
  options.threads = u32(o, "threads");
  if (options.threads < 1 || options.threads > 256) throw Error(ErrorCode::kInvalidArgument, std::to_string(options.threads) + " threads are too few or too many", "use 1 to 256");
  if (o.Get("contextCache").IsObject()) {
    const auto cache = o.Get("contextCache").As<Napi::Object>();
    options.cache = {string(cache, "file"), string(cache, "key"), boolean_or(cache, "readOnly", false)};
  }
  if (o.Get("power").IsString()) {
    const std::string name = string(o, "power");
    const auto mode = qnn::power_mode(name);
    if (!mode) throw Error(ErrorCode::kInvalidArgument, "power '" + name + "' is none of burst, sustained, balanced, saver");
    options.npu.power = *mode;
  }
  options.keep_activations = boolean_or(o, "keepActivations", false);
  options.profile = boolean_or(o, "profile", false);
  if (o.Get("shadowResidency").IsString()) options.shadow_residency = shadow_residency(string(o, "shadowResidency"));
  options.log = log_options(o, handle);
  return options;
}

}  // namespace

session::NpuOptions npu_options(const Napi::Object& npu) {
  const std::string kind = string(npu, "kind");
  if (kind == "none") return {};
  if (kind == "host") return {session::NpuOptions::Kind::kHost, {}, {}, {}};
  if (kind != "library") throw Error(ErrorCode::kInvalidArgument, "npu kind '" + kind + "' is neither none, host nor library");
  session::NpuOptions options{session::NpuOptions::Kind::kLibrary, string(npu, "path"), {}, {}};
  if (!npu.Get("soc").IsUndefined()) options.soc = u32(npu, "soc");
  options.measurements = measurements(npu);
  return options;
}

Napi::Object backend_info(Napi::Env env, const qnn::LibraryInfo& info) {
  Napi::Object o = Napi::Object::New(env);
  o.Set("name", info.provider);
  o.Set("buildId", info.build_id);
  o.Set("apiVersion", qnn::to_string(info.core));
  o.Set("backendApiVersion", qnn::to_string(info.backend));
  o.Set("backendId", Napi::Number::New(env, static_cast<double>(info.backend_id)));
  return o;
}

Napi::Value open_engine(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    Napi::Env env = info.Env();
    const Napi::Object o = Arguments(info).object(0);
    const auto handle = EngineHandle::create(env, npu_timeout(o, npu_of(o)));
    auto options = std::make_shared<session::EngineOptions>(engine_options(o, *handle));
    return handle->run(env, [options] { return std::make_shared<session::Engine>(std::move(*options)); },
                       [](Napi::Env js, EngineHandle& opened, std::shared_ptr<session::Engine>& engine) -> Napi::Value {
                         // Disposal cannot have happened: nobody has the object yet.
                         opened.set_engine(std::move(engine));
                         return EngineObject(js, opened.shared_from_this()).make();
                       });
  });
}

}  // namespace lutra::addon
