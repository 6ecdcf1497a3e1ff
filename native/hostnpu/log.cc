#include "hostnpu/log.h"

#include <chrono>
#include <cstdarg>

namespace lutra::hostnpu {
namespace {

// The callback takes a va_list, which only a variadic function can make.
void deliver(qnn::abi::LogCallback callback, uint32_t level, uint64_t timestamp, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  callback(format, level, timestamp, arguments);
  va_end(arguments);
}

}  // namespace

void Log::write(qnn::abi::LogLevel level, const std::string& line) const noexcept {
  const auto number = static_cast<uint32_t>(level);
  if (callback_ == nullptr || number > level_) return;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  deliver(callback_, number, static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(now).count()), "%s", line.c_str());
}

}  // namespace lutra::hostnpu
