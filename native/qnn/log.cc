#include "qnn/log.h"

#include <array>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <mutex>
#include <utility>

#include "base/error.h"

namespace lutra::qnn {
namespace {

struct Place {
  std::mutex mutex;
  bool used = false;
  LogSink sink;
  std::deque<std::string> errors;
};

// Process-wide because the interface's callback has no user pointer. Never destroyed, since a library may log from its exit handlers.
std::array<Place, LogChannel::kMax>& places() {
  static auto& all = *new std::array<Place, LogChannel::kMax>;
  return all;
}

std::string format_line(const char* format, va_list arguments) {
  va_list copy;
  va_copy(copy, arguments);
  char buffer[512];
  const int length = std::vsnprintf(buffer, sizeof buffer, format, arguments);
  std::string line;
  if (length >= 0 && static_cast<size_t>(length) < sizeof buffer) {
    line.assign(buffer, static_cast<size_t>(length));
  } else if (length >= 0) {
    line.resize(static_cast<size_t>(length) + 1);
    std::vsnprintf(line.data(), line.size(), format, copy);
    line.pop_back();
  }
  va_end(copy);
  while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == ' ')) line.pop_back();
  return line;
}

void deliver(size_t index, const char* format, uint32_t level, va_list arguments) noexcept {
  if (format == nullptr) return;
  try {
    const std::string line = format_line(format, arguments);
    Place& place = places()[index];
    const std::lock_guard lock(place.mutex);
    if (!place.used) return;
    if (level == static_cast<uint32_t>(abi::LogLevel::kError)) {
      if (place.errors.size() == LogChannel::kRemembered) place.errors.pop_front();
      place.errors.push_back(line);
    }
    if (place.sink) place.sink(static_cast<int>(level), line);
  } catch (...) {
    // The caller is C code inside the library: a line is lost rather than the process.
  }
}

template <size_t Index>
void callback_of(const char* format, uint32_t level, uint64_t, va_list arguments) {
  deliver(Index, format, level, arguments);
}

template <size_t... Index>
constexpr std::array<abi::LogCallback, sizeof...(Index)> make_callbacks(std::index_sequence<Index...>) {
  return {&callback_of<Index>...};
}
constexpr auto kCallbacks = make_callbacks(std::make_index_sequence<LogChannel::kMax>());

}  // namespace

LogChannel::LogChannel(LogSink sink) : index_(kMax) {
  for (size_t i = 0; i < kMax && index_ == kMax; ++i) {
    Place& place = places()[i];
    const std::lock_guard lock(place.mutex);
    if (place.used) continue;
    place.used = true;
    place.sink = std::move(sink);
    index_ = i;
  }
  if (index_ == kMax) {
    throw Error(ErrorCode::kBusy, "all " + std::to_string(kMax) + " QNN backends of this process are in use", "close a model before another one is opened");
  }
}

LogChannel::~LogChannel() {
  Place& place = places()[index_];
  const std::lock_guard lock(place.mutex);
  place.used = false;
  place.sink = nullptr;
  place.errors.clear();
}

abi::LogCallback LogChannel::callback() const noexcept { return kCallbacks[index_]; }

std::vector<std::string> LogChannel::take_errors() {
  Place& place = places()[index_];
  const std::lock_guard lock(place.mutex);
  std::vector<std::string> lines(place.errors.begin(), place.errors.end());
  place.errors.clear();
  return lines;
}

}  // namespace lutra::qnn
