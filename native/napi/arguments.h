// Reading arguments from JavaScript and turning native errors into JavaScript ones.
#pragma once

#include <napi.h>

#include <exception>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"

namespace lutra::addon {

/// An Error object with `code` and `remedy`. Needs an open handle scope.
Napi::Error to_js(Napi::Env env, std::exception_ptr error);

/// Runs body and rethrows any C++ error as a JavaScript exception.
template <class Body>
auto guarded(Napi::Env env, const Body& body) -> decltype(body()) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_js(env, std::current_exception());
  }
}

/// A view of a typed array's memory; valid while nothing runs in JavaScript. Throws Error(kInvalidArgument) that names it.
template <class T>
std::span<T> typed_array(const Napi::Value& value, const char* name, napi_typedarray_type type);

/// Typed access to the properties of an options object or to positional arguments. Every getter throws Error(kInvalidArgument) that names the property,
/// what it is and what it should be.
class Arguments {
 public:
  explicit Arguments(const Napi::CallbackInfo& info) : info_(info) {}

  Napi::Object object(size_t index) const;
  uint32_t u32(size_t index, const char* name) const;
  std::string string(size_t index, const char* name) const;
  Napi::Function function(size_t index, const char* name) const;
  /// A view of a typed array's memory; valid while the call runs.
  template <class T>
  std::span<T> array(size_t index, const char* name, napi_typedarray_type type) const;

 private:
  const Napi::CallbackInfo& info_;
};

/// The memory of a typed array, shared memory included; nothing of a detached one. Valid while nothing runs in JavaScript.
std::span<std::byte> array_bytes(const Napi::Value& value, const std::string& what);

double number(const Napi::Object& object, const char* name);
uint32_t u32(const Napi::Object& object, const char* name);
bool boolean_or(const Napi::Object& object, const char* name, bool fallback);
std::string string(const Napi::Object& object, const char* name);
std::vector<std::string> strings(const Napi::Object& object, const char* name);
std::vector<uint32_t> u32s(const Napi::Object& object, const char* name);
std::vector<std::byte> bytes(const Napi::Object& object, const char* name);

template <class T>
std::span<T> typed_array(const Napi::Value& value, const char* name, napi_typedarray_type type) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is not a typed array of the expected type");
  }
  const std::span<std::byte> memory = array_bytes(value, name);
  return {reinterpret_cast<T*>(memory.data()), memory.size() / sizeof(T)};
}

template <class T>
std::span<T> Arguments::array(size_t index, const char* name, napi_typedarray_type type) const {
  return typed_array<T>(info_[index], name, type);
}

}  // namespace lutra::addon
