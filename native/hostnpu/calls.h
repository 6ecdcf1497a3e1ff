// The calls of the interface by group, private to the files that build the two tables. Every one returns an error code, whatever it is given.
#pragma once

#include <exception>
#include <new>

#include "base/error.h"
#include "hostnpu/backend.h"
#include "hostnpu/context.h"

namespace lutra::hostnpu {

/// Runs `body` and turns what it throws into a status; the sentence goes to the backend's log (NULL: nowhere).
template <class Body>
abi::Status guarded(const Backend* backend, const Body& body) noexcept {
  const auto report = [backend](abi::Status status, const char* what) noexcept {
    remember_failure(status, what);
    try {
      if (backend != nullptr) backend->log(abi::LogLevel::kError, what);
    } catch (...) {
      return status;  // no memory for the line
    }
    return status;
  };
  try {
    body();
    return abi::kSuccess;
  } catch (const Failure& failure) {
    return report(failure.code(), failure.what());
  } catch (const std::bad_alloc&) {
    return abi::kMemAlloc;
  } catch (const Error& error) {
    return report(error.code() == ErrorCode::kOutOfMemory ? abi::kMemAlloc : abi::kGeneral, error.what());
  } catch (const std::exception& error) {
    return report(abi::kGeneral, error.what());
  }
}

/// NULL is no profile; a handle that is none is refused.
std::shared_ptr<Profile> optional_profile(abi::ProfileHandle handle);
/// NULL is no signal; a handle that is none is refused, as is a signal that another call uses.
std::shared_ptr<Watch> optional_watch(abi::SignalHandle handle, Watch::Call call);

/// Of a call that gets properties: there are none.
inline abi::Status get_properties(abi::Property** list, abi::Status invalid_argument) noexcept {
  if (list == nullptr) return invalid_argument;
  return *list == nullptr ? abi::kSuccess : abi::kNotSupported;
}

template <class... Arguments>
using Function = abi::Status (*)(Arguments...);

/// Stands for any function of the table that only says that it is not supported: clients need not check for NULL.
struct Unsupported {
  template <class... Arguments>
  operator Function<Arguments...>() const noexcept {
    return [](Arguments...) -> abi::Status { return abi::kNotSupported; };
  }
};

// Both interfaces have them.
abi::Status log_create(abi::LogCallback callback, uint32_t level, abi::LogHandle* out);
abi::Status log_set_level(abi::LogHandle handle, uint32_t level);
abi::Status log_free(abi::LogHandle handle);

abi::Status device_get_infrastructure(const abi::HtpInfrastructure** out);

/// Fill their slots of a table that is at least abi::kSlotsOfNewestClients long.
void add_backend_calls(abi::AnyFunction* table) noexcept;
void add_context_calls(abi::AnyFunction* table) noexcept;
void add_graph_calls(abi::AnyFunction* table) noexcept;
void add_memory_calls(abi::AnyFunction* table) noexcept;
void add_signal_calls(abi::AnyFunction* table) noexcept;
void add_profile_calls(abi::AnyFunction* table) noexcept;

/// Puts `function` into a slot after checking that it has the signature `Fn`.
template <class Fn>
void put(abi::AnyFunction* table, abi::Slot slot, Fn function) noexcept {
  table[static_cast<size_t>(slot)] = reinterpret_cast<abi::AnyFunction>(function);
}

}  // namespace lutra::hostnpu
