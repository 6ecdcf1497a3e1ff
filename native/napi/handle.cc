#include "napi/handle.h"

namespace lutra::addon {
namespace {

// A number of our own: an object that carries it was made here.
constexpr napi_type_tag kTag = {0x6c757472612d716eu, 0x6e2d68616e646c65u};

}  // namespace

Napi::Object wrap(Napi::Env env, std::shared_ptr<Handle> handle) {
  Napi::Object object = Napi::Object::New(env);
  object.TypeTag(&kTag);
  auto owned = std::make_unique<std::shared_ptr<Handle>>(std::move(handle));
  const auto drop = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<Handle>*>(data); };
  if (napi_wrap(env, object, owned.get(), drop, nullptr, nullptr) != napi_ok) throw Error(ErrorCode::kInternal, "a native object cannot be given to JavaScript");
  static_cast<void>(owned.release());
  return object;
}

std::shared_ptr<Handle> unwrap(const Napi::Value& value, const char* name) {
  void* data = nullptr;
  const bool ours = value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag) && napi_unwrap(value.Env(), value, &data) == napi_ok;
  if (!ours || data == nullptr) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " is not an object of lutra");
  return *static_cast<std::shared_ptr<Handle>*>(data);
}

}  // namespace lutra::addon
