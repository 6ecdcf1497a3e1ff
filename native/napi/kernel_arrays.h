// Typed arrays of the kernel API: what a call may read and write, and what their elements must be.
#pragma once

#include <napi.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "base/error.h"

namespace lutra::addon {

inline bool given(const Napi::Value& value) { return !value.IsUndefined() && !value.IsNull(); }

/// Memory of a typed array that nobody else can change or take away during the call.
template <class T>
std::span<T> own_array(const Napi::Value& value, const char* name, napi_typedarray_type type, const char* type_name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is not a " + type_name);
  napi_value buffer = nullptr;
  bool plain = false, detached = false;
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_typedarray_info(value.Env(), value, nullptr, &length, &data, &buffer, nullptr) != napi_ok || napi_is_arraybuffer(value.Env(), buffer, &plain) != napi_ok || !plain) {
    throw Error(ErrorCode::kInvalidArgument, std::string(name) + " lies in shared memory, which other threads may change", "give a copy: array.slice()");
  }
  if (napi_is_detached_arraybuffer(value.Env(), buffer, &detached) != napi_ok || detached) {
    throw Error(ErrorCode::kInvalidArgument, std::string("the buffer of ") + name + " was detached", "give an array that was not transferred to another thread");
  }
  return {static_cast<T*>(data), length};
}

inline std::span<float> floats(const Napi::Value& value, const char* name) { return own_array<float>(value, name, napi_float32_array, "Float32Array"); }
inline std::span<const uint8_t> octets(const Napi::Value& value, const char* name) { return own_array<const uint8_t>(value, name, napi_uint8_array, "Uint8Array"); }

inline void check_length(const char* name, size_t length, size_t expected, const std::string& why) {
  if (length != expected) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " has " + std::to_string(length) + " elements, expected " + std::to_string(expected) + " (" + why + ")");
}

/// Throws unless every element passes; `what` it must be.
template <class T, class Passes>
void check_each(const char* name, std::span<T> values, const char* what, const Passes& passes, const char* remedy = "") {
  const auto wrong = std::find_if_not(values.begin(), values.end(), passes);
  if (wrong == values.end()) return;
  throw Error(ErrorCode::kInvalidArgument, std::string(name) + "[" + std::to_string(wrong - values.begin()) + "] = " + std::to_string(*wrong) + " is not " + what, remedy);
}

inline void check_finite(const char* name, std::span<const float> values) {
  check_each(name, values, "finite", [](float v) { return std::isfinite(v); });
}

/// A new array; JavaScript's own RangeError would not say what failed.
template <class Array>
Array new_array(Napi::Env env, size_t length) {
  try {
    return Array::New(env, length);
  } catch (const Napi::Error&) {
    throw Error(ErrorCode::kOutOfMemory, "an array of " + std::to_string(length) + " elements cannot be made", "use smaller weights, or fewer rows of x at a time");
  }
}

}  // namespace lutra::addon
