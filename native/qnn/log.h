// Log lines of a QNN library, delivered to a sink and remembered for error messages.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "qnn/abi.h"

namespace lutra::qnn {

/// Receives every line that the library logs at or below the level asked for: `level` is 1 error, 2 warning, 3 info, 4 verbose, 5 debug; `line` is formatted and
/// has no newline at its end. Called from any thread, one call at a time. It must neither call QNN nor wait for the thread that destroys the backend.
using LogSink = std::function<void(int level, std::string_view line)>;

struct LogOptions {
  LogSink sink;                               // may be empty: errors are still remembered
  abi::LogLevel level = abi::LogLevel::kWarn;  // most talkative level delivered
};

/// One registration of a sink. The callback of the interface carries no user pointer, so a fixed number of callback functions exists, each with a
/// place for one channel; more live channels than kMax is Error(kBusy).
class LogChannel {
 public:
  static constexpr size_t kMax = 16;
  static constexpr size_t kRemembered = 16;  // error lines

  explicit LogChannel(LogSink sink);
  /// Returns after a call of the sink that is under way; lines that come later are dropped.
  ~LogChannel();
  LogChannel(const LogChannel&) = delete;
  LogChannel& operator=(const LogChannel&) = delete;

  abi::LogCallback callback() const noexcept;
  /// The last error lines since the previous call, oldest first; forgets them.
  std::vector<std::string> take_errors();

 private:
  size_t index_;
};

}  // namespace lutra::qnn
