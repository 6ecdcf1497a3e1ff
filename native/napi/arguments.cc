#include "napi/arguments.h"

#include <cmath>
#include <new>

namespace lutra::addon {
namespace {

[[noreturn]] void expected(const std::string& name, const char* what) {
  throw Error(ErrorCode::kInvalidArgument, name + " is not " + what);
}

uint32_t checked_u32(const Napi::Value& value, const std::string& name) {
  if (!value.IsNumber()) expected(name, "a number");
  const double v = value.As<Napi::Number>().DoubleValue();
  if (!(v >= 0 && v <= 4294967295.0) || v != std::floor(v)) expected(name + " = " + std::to_string(v), "a whole number below 2^32");
  return static_cast<uint32_t>(v);
}

std::string checked_string(const Napi::Value& value, const std::string& name) {
  if (!value.IsString()) expected(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

}  // namespace

Napi::Error to_js(Napi::Env env, std::exception_ptr error) {
  const auto make = [&](const char* code, const char* message, const std::string& remedy) {
    Napi::Error js = Napi::Error::New(env, message);
    js.Set("code", Napi::String::New(env, code));
    js.Set("remedy", Napi::String::New(env, remedy));
    return js;
  };
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return make(error_code_name(e.code()), e.what(), e.remedy());
  } catch (const std::bad_alloc&) {
    return make(error_code_name(ErrorCode::kOutOfMemory), "out of memory", "use a smaller context or close other programs");
  } catch (const std::exception& e) {
    return make(error_code_name(ErrorCode::kInternal), e.what(), "please report this");
  } catch (...) {
    return make(error_code_name(ErrorCode::kInternal), "unknown native error", "please report this");
  }
}

Napi::Object Arguments::object(size_t index) const {
  if (!info_[index].IsObject()) expected("argument " + std::to_string(index + 1), "an object");
  return info_[index].As<Napi::Object>();
}

uint32_t Arguments::u32(size_t index, const char* name) const { return checked_u32(info_[index], name); }
std::string Arguments::string(size_t index, const char* name) const { return checked_string(info_[index], name); }

Napi::Function Arguments::function(size_t index, const char* name) const {
  if (!info_[index].IsFunction()) expected(name, "a function");
  return info_[index].As<Napi::Function>();
}

std::span<std::byte> array_bytes(const Napi::Value& value, const std::string& what) {
  if (!value.IsTypedArray()) expected(what, "a typed array");
  void* data = nullptr;
  // Not by way of the ArrayBuffer, which may be a SharedArrayBuffer.
  if (napi_get_typedarray_info(value.Env(), value, nullptr, nullptr, &data, nullptr, nullptr) != napi_ok) expected(what, "an array that can be read");
  return {static_cast<std::byte*>(data), value.As<Napi::TypedArray>().ByteLength()};
}

double number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber() || std::isnan(value.As<Napi::Number>().DoubleValue())) expected(name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

uint32_t u32(const Napi::Object& object, const char* name) { return checked_u32(object.Get(name), name); }

bool boolean_or(const Napi::Object& object, const char* name, bool fallback) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined()) return fallback;
  if (!value.IsBoolean()) expected(name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string string(const Napi::Object& object, const char* name) { return checked_string(object.Get(name), name); }

std::vector<std::string> strings(const Napi::Object& object, const char* name) {
  if (!object.Get(name).IsArray()) expected(name, "an array of strings");
  const auto array = object.Get(name).As<Napi::Array>();
  std::vector<std::string> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(checked_string(array.Get(i), std::string(name) + "[" + std::to_string(i) + "]"));
  return out;
}

std::vector<uint32_t> u32s(const Napi::Object& object, const char* name) {
  if (!object.Get(name).IsArray()) expected(name, "an array of numbers");
  const auto array = object.Get(name).As<Napi::Array>();
  std::vector<uint32_t> out;
  for (uint32_t i = 0; i < array.Length(); ++i) out.push_back(checked_u32(array.Get(i), std::string(name) + "[" + std::to_string(i) + "]"));
  return out;
}

std::vector<std::byte> bytes(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) expected(name, "a Uint8Array");
  const std::span<std::byte> memory = array_bytes(value, name);
  return {memory.begin(), memory.end()};
}

}  // namespace lutra::addon
