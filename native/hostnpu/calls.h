// The calls of the interface by group, private to the files that build the two tables. Every one returns an error code, whatever it is given.
#pragma once

#include <exception>
#include <new>

#include "base/error.h"
#include "hostnpu/backend.h"

namespace lutra::hostnpu {

/// Runs `body` and turns what it throws into a status; the sentence goes to the backend's log (NULL: nowhere).
template <class Body>
abi::Status guarded(const Backend* backend, const Body& body) noexcept {
  const auto report = [backend](const char* what) {
    if (backend != nullptr) backend->log(abi::LogLevel::kError, what);
  };
  try {
    body();
    return abi::kSuccess;
  } catch (const Failure& failure) {
    report(failure.what());
    return failure.code();
  } catch (const std::bad_alloc&) {
    return abi::kMemAlloc;
  } catch (const Error& error) {
    try {
      report(error.what());
    } catch (...) {
      return abi::kGeneral;
    }
    return error.code() == ErrorCode::kOutOfMemory ? abi::kMemAlloc : abi::kGeneral;
  } catch (const std::exception& error) {
    try {
      report(error.what());
    } catch (...) {
      return abi::kGeneral;
    }
    return abi::kGeneral;
  }
}

/// Fill their slots of a table that is at least abi::kSlotsOfNewestClients long.
void add_backend_calls(abi::AnyFunction* table) noexcept;
void add_context_calls(abi::AnyFunction* table) noexcept;
void add_profile_calls(abi::AnyFunction* table) noexcept;

/// Puts `function` into a slot after checking that it has the signature `Fn`.
template <class Fn>
void put(abi::AnyFunction* table, abi::Slot slot, Fn function) noexcept {
  table[static_cast<size_t>(slot)] = reinterpret_cast<abi::AnyFunction>(function);
}

}  // namespace lutra::hostnpu
