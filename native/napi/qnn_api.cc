#include "napi/qnn_api.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "hostnpu/hostnpu.h"
#include "napi/arguments.h"
#include "napi/engine_object.h"
#include "napi/qnn_log.h"
#include "napi/qnn_values.h"
#include "qnn/adsp_path.h"
#include "qnn/platform.h"
#include "qnn/rpc_memory.h"
#include "qnn/stdout_guard.h"

namespace lutra::addon {
namespace {

constexpr uint32_t kMaxThreads = 256;
constexpr const char* kHostName = "host";

std::shared_ptr<LibraryCore> library_of(const Napi::CallbackInfo& info, size_t index) { return unwrap_as<LibraryHandle>(info[index], "library")->get(); }

Napi::Value open_library(const Napi::CallbackInfo& info, Environment&) {
  const Napi::Object o = Arguments(info).object(0);
  auto core = std::make_shared<LibraryCore>();
  core->quiet = boolean_or(o, "quiet", true);
  core->host = boolean_or(o, "host", false);
  core->library = core->host ? qnn::Library::embedded(&hostnpu::get_providers, kHostName)
                             : qnn::Library::open(checked_name(o.Get("path"), "the path of a QNN library"), {.quiet_stdout = core->quiet});
  return wrap(info.Env(), std::make_shared<LibraryHandle>(std::move(core), "library"));
}

Napi::Value library_info(const Napi::CallbackInfo& info, Environment&) {
  const auto core = library_of(info, 0);
  Napi::Object o = backend_info(info.Env(), core->library->info());
  o.Set("source", core->library->info().source);
  return o;
}

const qnn::System& system_of(LibraryCore& core) {
  if (core.system == nullptr) core.system = core.host ? qnn::System::embedded(&hostnpu::get_system_providers, kHostName) : qnn::System::beside(*core.library);
  return *core.system;
}

Napi::Value system_info(const Napi::CallbackInfo& info, Environment&) {
  const qnn::System& system = system_of(*library_of(info, 0));
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("source", system.source());
  o.Set("version", qnn::to_string(system.version()));
  return o;
}

Napi::Value binary_info(const Napi::CallbackInfo& info, Environment&) {
  const auto core = library_of(info, 0);
  const auto bytes = array_bytes(info[1], "the context binary");
  if (bytes.empty()) throw Error(ErrorCode::kBadFile, "the context binary is empty");
  return description_object(info.Env(), system_of(*core).describe(bytes));
}

Napi::Value platform_devices(const Napi::CallbackInfo& info, Environment&) {
  const auto core = library_of(info, 0);
  const qnn::StdoutGuard guard(core->quiet && !core->host);
  Napi::Array out = Napi::Array::New(info.Env());
  for (const qnn::PlatformDevice& device : qnn::platform_devices(*core->library)) {
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("id", device.id);
    o.Set("cores", device.cores);
    if (device.htp) {
      o.Set("soc", device.htp->soc);
      o.Set("arch", device.htp->arch);
      o.Set("vtcmMb", static_cast<double>(device.htp->vtcm_mb));
      o.Set("signedPd", device.htp->signed_pd);
    }
    out.Set(out.Length(), o);
  }
  return out;
}

Napi::Value adsp_path(const Napi::CallbackInfo& info, Environment&) {
  const Arguments arguments(info);
  return Napi::String::New(info.Env(), qnn::adsp_path(arguments.string(0, "the path of a QNN library"), arguments.string(1, "the current path")));
}

/// Opens FastRPC's library and takes one buffer of it, which is freed again.
Napi::Value try_rpc_memory(const Napi::CallbackInfo& info, Environment&) {
  const Napi::Object o = Arguments(info).object(0);
  const auto memory = qnn::RpcMemory::open(strings(o, "candidates"));
  const auto buffer = memory->allocate(u32(o, "bytes"));
  std::ranges::fill(buffer.bytes(), std::byte{0x5A});
  return Napi::String::New(info.Env(), memory->source());
}

Napi::Value create_backend(const Napi::CallbackInfo& info, Environment& environment) {
  const auto core = library_of(info, 0);
  const Napi::Object o = Arguments(info).object(1);
  qnn::LogOptions log;
  if (o.Get("onLog").IsFunction()) {
    const uint32_t level = u32(o, "logLevel");
    if (level < 1 || level > 5) throw Error(ErrorCode::kInvalidArgument, "log level " + std::to_string(level) + " is not 1 to 5");
    log = {LogPipe::create(info.Env(), o.Get("onLog").As<Napi::Function>(), environment), static_cast<qnn::abi::LogLevel>(level)};
  }
  const auto threads = optional_u32(o, "threads");
  if (threads && (*threads < 1 || *threads > kMaxThreads)) throw Error(ErrorCode::kInvalidArgument, "threads = " + std::to_string(*threads), "use 1 to 256");
  hostnpu::BackendCustomConfig config{{}, threads.value_or(0), nullptr, nullptr};
  std::memcpy(config.magic, hostnpu::kCustomConfigMagic, sizeof config.magic);
  const qnn::StdoutGuard guard(core->quiet && !core->host);
  auto backend = qnn::Backend::create(core->library, std::move(log), core->host ? &config : nullptr);
  return wrap(info.Env(), std::make_shared<BackendHandle>(std::move(backend), "backend"));
}

Napi::Value operations(const Napi::CallbackInfo& info, Environment&) {
  const auto backend = unwrap_as<BackendHandle>(info[0], "backend")->get();
  Napi::Array names = Napi::Array::New(info.Env());
  for (const std::string& name : backend->supported_operations()) names.Set(names.Length(), name);
  return names;
}

Napi::Value create_device(const Napi::CallbackInfo& info, Environment&) {
  const auto backend = unwrap_as<BackendHandle>(info[0], "backend")->get();
  const Napi::Object o = Arguments(info).object(1);
  const qnn::DeviceTarget target{optional_u32(o, "soc"), optional_u32(o, "arch")};
  const qnn::StdoutGuard guard(boolean_or(o, "quiet", true));
  return wrap(info.Env(), std::make_shared<DeviceHandle>(qnn::Device::create(backend, target, measurements(o)), "device"));
}

Napi::Value boost(const Napi::CallbackInfo& info, Environment&) {
  auto vote = unwrap_as<DeviceHandle>(info[0], "device")->get()->vote(qnn::PowerMode::kBurst);
  if (!vote) return info.Env().Null();
  vote->wake();
  return wrap(info.Env(), std::make_shared<VoteHandle>(std::make_shared<qnn::PowerVote>(std::move(*vote)), "power vote"));
}

Napi::Value create_profile(const Napi::CallbackInfo& info, Environment&) {
  const auto backend = unwrap_as<BackendHandle>(info[0], "backend")->get();
  const bool detailed = info[1].ToBoolean();
  auto core = std::make_shared<ProfileCore>(qnn::Profile(backend, detailed ? qnn::abi::ProfileLevel::kDetailed : qnn::abi::ProfileLevel::kBasic));
  return wrap(info.Env(), std::make_shared<ProfileHandle>(std::move(core), "profile"));
}

Napi::Value profile_events(const Napi::CallbackInfo& info, Environment&) {
  const auto core = unwrap_as<ProfileHandle>(info[0], "profile")->get();
  if (core->pending > 0) throw Error(ErrorCode::kBusy, "a call that is being profiled is under way", "await it first");
  const std::lock_guard lock(core->mutex);
  return events_array(info.Env(), core->profile.events());
}

Napi::Value dispose(const Napi::CallbackInfo& info, Environment&) {
  unwrap(info[0], "the object to dispose of")->dispose();
  return info.Env().Undefined();
}

/// Waits for what runs and begins nothing more: a process must not run its exit handlers, in which libraries tear themselves down, beside a call.
Napi::Value shutdown(const Napi::CallbackInfo& info, Environment& environment) {
  environment.abandon();
  return info.Env().Undefined();
}

}  // namespace

void QnnTable::add(const char* name, QnnCall call) {
  const auto body = [environment = environment_, call](const Napi::CallbackInfo& info) -> Napi::Value {
    return guarded(info.Env(), [&] { return call(info, *environment); });
  };
  object_.Set(name, Napi::Function::New(env_, body, name));
}

void add_device_calls(QnnTable& table) {
  table.add("openLibrary", open_library);
  table.add("libraryInfo", library_info);
  table.add("systemInfo", system_info);
  table.add("binaryInfo", binary_info);
  table.add("platformDevices", platform_devices);
  table.add("adspPath", adsp_path);
  table.add("tryRpcMemory", try_rpc_memory);
  table.add("createBackend", create_backend);
  table.add("operations", operations);
  table.add("createDevice", create_device);
  table.add("boost", boost);
  table.add("createProfile", create_profile);
  table.add("profileEvents", profile_events);
  table.add("dispose", dispose);
  table.add("shutdown", shutdown);
}

void add_qnn(Napi::Env env, Napi::Object exports) {
  auto environment = std::make_shared<Environment>();
  env.AddCleanupHook([environment] { environment->abandon(); });
  QnnTable table(env, environment);
  add_device_calls(table);
  add_graph_calls(table);
  add_conformance_calls(table);
  exports.Set("qnn", table.object());
}

}  // namespace lutra::addon
