#include "napi/qnn_log.h"

#include <utility>

#include "base/error.h"

namespace lutra::addon {

void LogPipe::call_function(napi_env env, napi_value function, const Line& line) {
  napi_value receiver = nullptr, error = nullptr;
  napi_value arguments[2] = {};
  const bool made = napi_get_undefined(env, &receiver) == napi_ok && napi_create_int32(env, line.level, &arguments[0]) == napi_ok &&
                    napi_create_string_utf8(env, line.text.data(), line.text.size(), &arguments[1]) == napi_ok;
  if (!made || napi_call_function(env, receiver, function, 2, arguments, nullptr) != napi_pending_exception) return;
  // What the function throws is an uncaught exception, as in any other event handler. There is none when a worker is being terminated.
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending && napi_get_and_clear_last_exception(env, &error) == napi_ok) napi_fatal_exception(env, error);
}

qnn::LogSink LogPipe::create(Napi::Env env, const Napi::Function& function, Environment& environment) {
  const std::shared_ptr<LogPipe> pipe(new LogPipe(env));
  auto reference = std::make_unique<std::weak_ptr<LogPipe>>(pipe);
  const auto drop = [](napi_env, void*, void* context) { delete static_cast<std::weak_ptr<LogPipe>*>(context); };
  const auto call = [](napi_env js, napi_value callback, void* context, void* data) {
    const std::unique_ptr<Line> line(static_cast<Line*>(data));
    if (js == nullptr) return;
    if (const auto live = static_cast<std::weak_ptr<LogPipe>*>(context)->lock()) live->taken();
    call_function(js, callback, *line);
  };
  const Napi::String name = Napi::String::New(env, "lutra qnn log");
  if (napi_create_threadsafe_function(env, function, nullptr, name, kQueue, 1, nullptr, drop, reference.get(), call, &pipe->way_back_) != napi_ok) {
    throw Error(ErrorCode::kInternal, "no way back to JavaScript's thread can be made");
  }
  static_cast<void>(reference.release());
  napi_unref_threadsafe_function(env, pipe->way_back_);
  environment.add(pipe);
  return [pipe](int level, std::string_view text) { pipe->send(level, text); };
}

void LogPipe::send(int level, std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (way_back_ == nullptr) return;
  if (dropped_ > 0) {
    const size_t lost = std::exchange(dropped_, 0);
    push(static_cast<int>(qnn::abi::LogLevel::kWarn), std::to_string(lost) + " log lines were dropped because nobody took them in time");
    if (dropped_ > 0) dropped_ = lost;
  }
  push(level, std::string(text));
}

void LogPipe::push(int level, std::string text) {
  auto line = std::make_unique<Line>(Line{level, std::move(text)});
  if (napi_call_threadsafe_function(way_back_, line.get(), napi_tsfn_nonblocking) != napi_ok) {
    ++dropped_;
    return;
  }
  static_cast<void>(line.release());
  ++waiting_;
  if (!referenced_ && std::this_thread::get_id() == home_) {
    napi_ref_threadsafe_function(env_, way_back_);
    referenced_ = true;
  }
}

void LogPipe::taken() {
  const std::lock_guard lock(mutex_);
  if (--waiting_ > 0 || !referenced_ || way_back_ == nullptr) return;
  napi_unref_threadsafe_function(env_, way_back_);
  referenced_ = false;
}

void LogPipe::close(napi_threadsafe_function_release_mode mode) noexcept {
  const std::lock_guard lock(mutex_);
  if (way_back_ != nullptr) napi_release_threadsafe_function(std::exchange(way_back_, nullptr), mode);
}

}  // namespace lutra::addon
