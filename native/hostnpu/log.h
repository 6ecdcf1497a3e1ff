// Lines for the client's log callback.
#pragma once

#include <atomic>
#include <string>

#include "hostnpu/object.h"
#include "qnn/abi.h"

namespace lutra::hostnpu {

class Log : public Object {
 public:
  static constexpr Kind kKind = Kind::kLog;
  Log(qnn::abi::LogCallback callback, uint32_t level) noexcept : Object(kKind), callback_(callback), level_(level) {}

  void set_level(uint32_t level) noexcept { level_ = level; }
  /// After this nothing is delivered, whoever still holds the object.
  void close() noexcept { level_ = 0; }
  void write(qnn::abi::LogLevel level, const std::string& line) const noexcept;

 private:
  qnn::abi::LogCallback callback_;
  std::atomic<uint32_t> level_;
};

}  // namespace lutra::hostnpu
