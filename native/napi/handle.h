// Tagged JavaScript objects that own native ones.
//
// A handle may be disposed of, or left to the garbage collector. JavaScript cannot make handles or confuse them: every use checks the tag and the kind.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <utility>

#include "base/error.h"

namespace lutra::addon {

class Handle {
 public:
  virtual ~Handle() = default;
  /// Gives up what the handle owns; later uses are LUTRA_DISPOSED. Idempotent.
  virtual void dispose() = 0;
};

/// A new JavaScript object that owns `handle`.
Napi::Object wrap(Napi::Env env, std::shared_ptr<Handle> handle);
/// Throws Error(kInvalidArgument) when `value` was not made by wrap.
std::shared_ptr<Handle> unwrap(const Napi::Value& value, const char* name);

template <class T>
std::shared_ptr<T> unwrap_as(const Napi::Value& value, const char* name) {
  auto handle = std::dynamic_pointer_cast<T>(unwrap(value, name));
  if (handle == nullptr) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is an object of another kind");
  return handle;
}

/// A handle of one shared object.
template <class T>
class Owner : public Handle {
 public:
  Owner(std::shared_ptr<T> value, const char* what) : value_(std::move(value)), what_(what) {}
  void dispose() override { value_.reset(); }
  const std::shared_ptr<T>& get() const {
    if (value_ == nullptr) throw Error(ErrorCode::kDisposed, std::string("the ") + what_ + " was disposed of", "make a new one");
    return value_;
  }

 private:
  std::shared_ptr<T> value_;
  const char* what_;
};

}  // namespace lutra::addon
