// Log lines of a QNN library on their way to a JavaScript function.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "napi/qnn_runner.h"
#include "qnn/log.h"

namespace lutra::addon {

/// Lives as long as the backend that writes to it. Lines wait for JavaScript's thread; when kQueue of them do, more are dropped and counted, because a talkative
/// library must not stall the NPU, and the next line that finds room is preceded by the number.
class LogPipe : public Closable, public std::enable_shared_from_this<LogPipe> {
 public:
  static constexpr size_t kQueue = 4096;

  /// A sink that calls `function(level, line)` on JavaScript's thread when its event loop next turns. Waiting lines of calls on JavaScript's thread keep the loop alive, so
  /// that a script that ends right after them still sees them; nothing else does.
  static qnn::LogSink create(Napi::Env env, const Napi::Function& function, Environment& environment);
  ~LogPipe() override { close(napi_tsfn_release); }
  LogPipe(const LogPipe&) = delete;
  LogPipe& operator=(const LogPipe&) = delete;

  void abandon(Deadline) noexcept override { close(napi_tsfn_abort); }

 private:
  struct Line {
    int level;
    std::string text;
  };

  explicit LogPipe(napi_env env) : env_(env) {}
  static void call_function(napi_env env, napi_value function, const Line& line);
  void send(int level, std::string_view text);
  void push(int level, std::string text);
  void taken();
  void close(napi_threadsafe_function_release_mode mode) noexcept;

  const napi_env env_;
  const std::thread::id home_ = std::this_thread::get_id();  // JavaScript's thread
  std::mutex mutex_;
  napi_threadsafe_function way_back_ = nullptr;
  size_t waiting_ = 0, dropped_ = 0;
  bool referenced_ = false;
};

}  // namespace lutra::addon
