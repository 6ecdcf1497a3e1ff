#include "napi/engine_object.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "napi/arguments.h"
#include "napi/worker.h"

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
  set("decodeMs", t.decode_ms);
  set("npuMs", sum(&plan::RunStats::npu_ns) * 1e-6);
  set("graphCalls", sum(&plan::RunStats::graph_calls));
  set("cpuMs", sum(&plan::RunStats::cpu_ns) * 1e-6);
  set("prefillCpuMs", static_cast<double>(t.prefill.cpu_ns) * 1e-6);
  set("decodeCpuMs", static_cast<double>(t.decode.cpu_ns) * 1e-6);
  set("shadowMs", sum(&plan::RunStats::shadow_ns) * 1e-6);
  set("repairedInputs", static_cast<double>(t.prefill.shadow.repaired_inputs));
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
  o.Set("bytes", bytes);
  o.Set("kernels", info.kernels);
  return o;
}

/// Log lines on their way to a JavaScript function.
using LogLine = std::pair<int, std::string>;
void deliver_line(Napi::Env env, Napi::Function sink, std::nullptr_t*, LogLine* owned) {
  const std::unique_ptr<LogLine> line(owned);
  if (env != nullptr) call_from_loop(env, sink, {Napi::Number::New(env, line->first), Napi::String::New(env, line->second)});
}
using LogChannel = Napi::TypedThreadSafeFunction<std::nullptr_t, LogLine, &deliver_line>;

/// State shared between the JavaScript object, the promises under way and the environment's clean-up.
class EngineHandle : public std::enable_shared_from_this<EngineHandle> {
 public:
  explicit EngineHandle(Napi::Env env) : worker_(std::make_unique<Worker>(env)) {}
  /// On JavaScript's thread. Also when opening failed: the way back for log lines must not outlive the handle.
  ~EngineHandle() { close(); }

  /// Joins the worker first: nothing runs when the engine goes. Safe to call again.
  void close() {
    if (engine_) engine_->stop();
    if (log_) log_->Abort();
    log_.reset();
    worker_->join();
    engine_.reset();
    closed_ = true;
  }

  session::Engine& engine() {
    if (closed_ || !engine_) throw Error(ErrorCode::kDisposed, "the model was disposed of", "load it again");
    return *engine_;
  }
  void require_idle() {
    engine();
    if (keep_alive_) throw Error(ErrorCode::kBusy, "another call of this session is under way", "await it first, or use a second session");
  }

  /// Runs work on the worker; settles the promise with what finish makes of its result on JavaScript's thread.
  template <class Work, class Finish>
  Napi::Promise run(Napi::Env env, Work work, Finish finish) {
    auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
    Napi::Promise promise = deferred->Promise();
    keep_alive_ = shared_from_this();
    worker_->ref(env);
    worker_->submit([this, deferred, work = std::move(work), finish = std::move(finish)]() mutable {
      using Result = decltype(work());
      auto result = std::make_shared<std::optional<Result>>();
      std::exception_ptr error;
      try {
        result->emplace(work());
      } catch (...) {
        error = std::current_exception();
      }
      worker_->post([this, deferred, result, error, finish = std::move(finish)](Napi::Env js) {
        const auto self = std::move(keep_alive_);
        on_token_.Reset();
        if (!closed_) worker_->unref(js);
        try {
          if (error) std::rethrow_exception(error);
          deferred->Resolve(finish(js, **result));
        } catch (const Napi::Error& e) {  // no memory for the result
          deferred->Reject(e.Value());
        } catch (...) {
          deferred->Reject(to_js(js, std::current_exception()).Value());
        }
      });
    });
    return promise;
  }

  /// Hands a token to JavaScript. A loop that waits for its reader keeps no process alive: when nobody reads on, nothing is left to wait for.
  void deliver(Napi::Env env, uint32_t token, uint32_t run_ahead) {
    if (++unread_ >= run_ahead && !closed_) worker_->unref(env);
    call_from_loop(env, on_token_.Value(), {Napi::Number::New(env, token)});
  }
  void acknowledge(Napi::Env env, uint32_t count) {
    engine().acknowledge(count);
    unread_ -= std::min(unread_, count);
    await_end(env);
  }
  /// The call under way, if any, is going to settle: the process stays for it.
  void await_end(Napi::Env env) {
    if (keep_alive_ && !closed_) worker_->ref(env);
  }

  /// The environment is going: posts will not come any more.
  void abandon() {
    close();
    on_token_.SuppressDestruct();
    keep_alive_.reset();
  }

  std::unique_ptr<session::Engine> engine_;
  std::unique_ptr<Worker> worker_;
  std::optional<LogChannel> log_;
  std::function<void(Napi::Env)> unhook_;  // takes the environment's clean-up hook back; empty once done
  uint32_t unread_ = 0;                        // tokens delivered and not acknowledged
  Napi::FunctionReference on_token_;  // of the generate call under way; used and freed on JavaScript's thread only

 private:
  std::shared_ptr<EngineHandle> keep_alive_;  // set while a promise is open: the object may be garbage before its call ends
  bool closed_ = false;
};

/// Wraps a handle in a JavaScript object whose methods are closures over it. The environment closes the handle when it ends before dispose().
class EngineObject {
 public:
  EngineObject(Napi::Env env, std::shared_ptr<EngineHandle> handle) : env_(env), handle_(std::move(handle)) {}

  Napi::Object make() {
    object_ = Napi::Object::New(env_);
    method("info", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return info_object(i.Env(), h.engine().info()); });
    method("timings", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return timings_object(i.Env(), h.engine().timings()); });
    method("length", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value { return Napi::Number::New(i.Env(), h.engine().length()); });
    method("prefill", prefill);
    method("generate", generate);
    method("acknowledge", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.acknowledge(i.Env(), Arguments(i).u32(0, "count"));
      return i.Env().Undefined();
    });
    method("stop", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.engine().stop();
      h.await_end(i.Env());
      return i.Env().Undefined();
    });
    method("truncate", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.require_idle();
      h.engine().truncate(Arguments(i).u32(0, "length"));
      return i.Env().Undefined();
    });
    method("peek", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      h.require_idle();
      return to_array(i.Env(), h.engine().peek(Arguments(i).string(0, "tensor")));
    });
    method("observations", observations);
    method("dispose", [](EngineHandle& h, const Napi::CallbackInfo& i) -> Napi::Value {
      auto deferred = Napi::Promise::Deferred::New(i.Env());
      h.await_end(i.Env());
      h.close();
      if (const auto unhook = std::exchange(h.unhook_, nullptr)) unhook(i.Env());
      deferred.Resolve(i.Env().Undefined());
      return deferred.Promise();
    });
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
    session::Engine& engine = h.engine();
    engine.clear_stop();
    return h.run(info.Env(), [&engine, tokens = std::move(tokens), wanted, program = arguments.string(2, "program")] { return engine.prefill(tokens, wanted, program); },
                 [](Napi::Env env, const std::vector<float>& logits) -> Napi::Value { return to_array(env, logits); });
  }

  static Napi::Value generate(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    const Arguments arguments(info);
    const Napi::Object o = arguments.object(0);
    session::GenerateOptions options{u32(o, "maxTokens"),
                                     {static_cast<float>(number(o, "temperature")), u32(o, "topK"), static_cast<float>(number(o, "topP")), static_cast<float>(number(o, "minP")),
                                      static_cast<float>(number(o, "repetitionPenalty")), static_cast<uint64_t>(number(o, "seed"))},
                                     u32(o, "repetitionWindow"), u32s(o, "stopTokens"), u32(o, "runAhead")};
    h.on_token_ = Napi::Persistent(arguments.function(1, "onToken"));
    session::Engine& engine = h.engine();
    engine.clear_stop();
    h.unread_ = 0;
    const auto deliver = [&h, run_ahead = std::max(1u, options.run_ahead)](uint32_t token) {
      h.worker_->post([&h, run_ahead, token](Napi::Env env) { h.deliver(env, token, run_ahead); });
    };
    return h.run(info.Env(), [&engine, options = std::move(options), deliver] { return engine.generate(options, deliver); },
                 [](Napi::Env env, const session::Engine::Generated& result) -> Napi::Value {
                   Napi::Object r = Napi::Object::New(env);
                   r.Set("reason", session::finish_reason_name(result.reason));
                   r.Set("tokens", Napi::Number::New(env, result.tokens));
                   return r;
                 });
  }

  static Napi::Value observations(EngineHandle& h, const Napi::CallbackInfo& info) {
    h.require_idle();
    Napi::Array sites = Napi::Array::New(info.Env());
    for (const auto& [site, o] : h.engine().observations()) {
      auto values = Napi::Float64Array::New(info.Env(), 4 + o.bins.size());
      values[0] = o.count;
      values[1] = o.min;
      values[2] = o.max;
      values[3] = o.sum_squares;
      for (size_t b = 0; b < o.bins.size(); ++b) values[4 + b] = static_cast<double>(o.bins[b]);
      sites.Set(site, values);
    }
    return sites;
  }

  Napi::Env env_;
  std::shared_ptr<EngineHandle> handle_;
  Napi::Object object_;
};

/// A sink that hands lines to a JavaScript function. It may be called on any thread.
qnn::LogOptions log_options(const Napi::Object& options, EngineHandle& handle) {
  const Napi::Value sink = options.Get("onLog");
  if (!sink.IsFunction()) return {};
  auto post = LogChannel::New(options.Env(), sink.As<Napi::Function>(), "lutra log", 256, 1);
  post.Unref(options.Env());
  handle.log_ = post;
  const auto level = options.Get("logLevel").IsNumber() ? u32(options, "logLevel") : 2u;
  return {[post](int severity, std::string_view line) mutable {
            // Lines beyond the queue's length are dropped: a chatty library must not stall the NPU.
            auto owned = std::make_unique<LogLine>(severity, line);
            if (post.NonBlockingCall(owned.get()) == napi_ok) static_cast<void>(owned.release());
          },
          static_cast<qnn::abi::LogLevel>(level)};
}

session::EngineOptions engine_options(const Napi::Object& o, EngineHandle& handle) {
  session::EngineOptions options;
  options.plan = bytes(o, "plan");
  options.files = strings(o, "files");
  if (!o.Get("npu").IsObject()) throw Error(ErrorCode::kInvalidArgument, "npu is not an object");
  options.npu = npu_options(o.Get("npu").As<Napi::Object>());
  options.threads = u32(o, "threads");
  if (options.threads < 1 || options.threads > 256) throw Error(ErrorCode::kInvalidArgument, std::to_string(options.threads) + " threads are too few or too many", "use 1 to 256");
  if (o.Get("contextCache").IsObject()) {
    const auto cache = o.Get("contextCache").As<Napi::Object>();
    options.cache = {string(cache, "file"), string(cache, "key")};
  }
  options.keep_activations = boolean_or(o, "keepActivations", false);
  options.profile = boolean_or(o, "profile", false);
  options.log = log_options(o, handle);
  return options;
}

}  // namespace

session::NpuOptions npu_options(const Napi::Object& npu) {
  const std::string kind = string(npu, "kind");
  if (kind == "none") return {};
  if (kind == "host") return {session::NpuOptions::Kind::kHost, {}, {}};
  if (kind != "library") throw Error(ErrorCode::kInvalidArgument, "npu kind '" + kind + "' is neither none, host nor library");
  session::NpuOptions options{session::NpuOptions::Kind::kLibrary, string(npu, "path"), {}};
  if (!npu.Get("soc").IsUndefined()) options.soc = u32(npu, "soc");
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
    auto handle = std::make_shared<EngineHandle>(env);
    auto options = std::make_shared<session::EngineOptions>(engine_options(o, *handle));
    // A worker thread that is terminated, or a process that exits, ends the environment before dispose(): join then.
    auto hook = env.AddCleanupHook([weak = std::weak_ptr(handle)] {
      if (const auto live = weak.lock()) live->abandon();
    });
    handle->unhook_ = [hook](Napi::Env js) mutable { hook.Remove(js); };
    // The work does not own the handle: the worker could be the last owner then, and would join itself.
    return handle->run(env, [options] { return std::make_unique<session::Engine>(std::move(*options)); },
                       [handle](Napi::Env js, std::unique_ptr<session::Engine>& engine) -> Napi::Value {
                         // Disposal cannot have happened: nobody has the object yet.
                         handle->engine_ = std::move(engine);
                         return EngineObject(js, handle).make();
                       });
  });
}

}  // namespace lutra::addon
