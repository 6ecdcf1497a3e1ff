// The functions behind the typed QNN API (lib/native/qnn-addon.ts): flat calls on handles, wrapped into classes by TypeScript.
#pragma once

#include <napi.h>

#include <memory>

#include "napi/qnn_handles.h"

namespace lutra::addon {

/// A function of the table. Every Error becomes a JavaScript one.
using QnnCall = Napi::Value (*)(const Napi::CallbackInfo& info, Environment& environment);

/// The object that the functions are put into.
class QnnTable {
 public:
  QnnTable(Napi::Env env, std::shared_ptr<Environment> environment) : env_(env), environment_(std::move(environment)), object_(Napi::Object::New(env)) {}
  void add(const char* name, QnnCall call);
  Napi::Object object() const { return object_; }

 private:
  Napi::Env env_;
  std::shared_ptr<Environment> environment_;
  Napi::Object object_;
};

/// Libraries, backends, devices, profiles, metadata of binaries.
void add_device_calls(QnnTable& table);
/// Contexts, graphs and their execution.
void add_graph_calls(QnnTable& table);

/// The conformance table.
void add_conformance_calls(QnnTable& table);

/// Sets `exports.qnn`. Once for each environment.
void add_qnn(Napi::Env env, Napi::Object exports);

}  // namespace lutra::addon
