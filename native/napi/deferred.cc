#include "napi/deferred.h"

namespace lutra::addon {

std::pair<std::shared_ptr<Deferred>, Napi::Value> Deferred::create(Napi::Env env) {
  const std::shared_ptr<Deferred> deferred(new Deferred(env));
  // The constructor of promises calls its executor before it returns.
  const auto executor = Napi::Function::New(env, [deferred](const Napi::CallbackInfo& info) {
    napi_create_reference(info.Env(), info[0], 1, &deferred->resolve_);
    napi_create_reference(info.Env(), info[1], 1, &deferred->reject_);
  });
  try {
    const Napi::Value promise = env.Global().Get("Promise").As<Napi::Function>().New({executor});
    return {deferred, promise};
  } catch (...) {  // the environment may end after the executor has run
    deferred->drop();
    throw;
  }
}

void Deferred::settle(napi_ref function, napi_value argument) {
  napi_value callee = nullptr, receiver = nullptr;
  const bool open = function != nullptr && napi_get_reference_value(env_, function, &callee) == napi_ok && napi_get_undefined(env_, &receiver) == napi_ok;
  drop();
  // Fails only where JavaScript cannot run any more, and then nobody waits.
  if (open) static_cast<void>(napi_call_function(env_, receiver, callee, 1, &argument, nullptr));
}

void Deferred::drop() noexcept {
  for (napi_ref* reference : {&resolve_, &reject_}) {
    if (*reference != nullptr) napi_delete_reference(env_, std::exchange(*reference, nullptr));
  }
}

}  // namespace lutra::addon
