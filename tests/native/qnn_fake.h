// A QNN backend in the test's own process that records what the client asks of it.
#pragma once

#include <cstdarg>
#include <cstring>
#include <string>
#include <vector>

#include "qnn/abi.h"

namespace lutra::qnn::testing {

/// State of the fake; reset() before every test. Handles are small numbers made into pointers.
struct Fake {
  std::vector<std::string> calls;  // in order, with arguments that matter
  abi::LogCallback log = nullptr;
  uint32_t log_level = 0;
  bool has_infrastructure = false;
  bool truncates = false;                             // contextGetBinary claims more than there is room for
  abi::Status device_status = 0, execute_status = 0, finalize_status = 0;
  std::string refused_op;                             // type that validateOpConfig refuses
  std::vector<uint8_t> soc_bytes;                     // the device's custom configuration
  std::vector<abi::HtpPowerConfig> power;             // every vote
  std::vector<std::string> graph_options;             // custom options of graphCreate
  std::vector<abi::Tensor> executed_inputs, executed_outputs;
  uint32_t next_id = 0;
  const void* backend_custom = nullptr;
  std::string last_op;                                // what validateOpConfig saw last

  bool called(const std::string& name) const {
    for (const std::string& call : calls) {
      if (call == name) return true;
    }
    return false;
  }
};

inline Fake& fake() {
  static Fake state;
  return state;
}

inline void fake_log(uint32_t level, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (fake().log != nullptr) fake().log(format, level, 0, arguments);
  va_end(arguments);
}

template <class Handle>
Handle handle_of(uintptr_t number) {
  return reinterpret_cast<Handle>(number);
}

inline abi::Status record(const char* call) {
  fake().calls.emplace_back(call);
  return 0;
}

inline abi::Status create_power_id(uint32_t, uint32_t, uint32_t* id) {
  *id = 31;
  return record("createPowerConfigId");
}
inline abi::Status destroy_power_id(uint32_t id) { return record(id == 31 ? "destroyPowerConfigId" : "destroy of a wrong id"); }
inline abi::Status set_power(uint32_t id, const abi::HtpPowerConfig** list) {
  for (; *list != nullptr; ++list) fake().power.push_back(**list);
  return record(id == 31 ? "setPowerConfig" : "vote of a wrong id");
}

inline abi::Status fake_validate(abi::BackendHandle, abi::OpConfig op) {
  Fake& f = fake();
  f.last_op = std::string(op.package) + " " + op.type + " " + op.name;
  for (uint32_t i = 0; i < op.param_count; ++i) {
    const abi::Param& p = op.params[i];
    f.last_op += std::string(" ") + p.name + "=";
    if (p.type == abi::ParamType::kTensor) {
      const auto* values = static_cast<const uint32_t*>(p.tensor.v1.client.data);
      for (uint32_t k = 0; k < p.tensor.v1.client.size / 4; ++k) f.last_op += (k == 0 ? "" : ",") + std::to_string(values[k]);
    } else if (p.scalar.dtype == abi::DataType::kFloat32) {
      f.last_op += "f" + std::to_string(p.scalar.f32);
    } else if (p.scalar.dtype == abi::DataType::kBool8) {
      f.last_op += p.scalar.bool8 != 0 ? "true" : "false";
    } else {
      f.last_op += (p.scalar.dtype == abi::DataType::kInt32 ? "i" + std::to_string(p.scalar.i32) : "u" + std::to_string(p.scalar.u32));
    }
  }
  if (op.type != f.refused_op) return 0;
  fake_log(1, "supported types:\n   in[0]: %s\n", "UFIXED_8");
  return 3110;
}

inline abi::Status fake_execute(abi::GraphHandle, const abi::Tensor* in, uint32_t in_count, abi::Tensor* out, uint32_t out_count, abi::ProfileHandle,
                                abi::SignalHandle) {
  Fake& f = fake();
  if (f.execute_status != 0) return f.execute_status;
  f.executed_inputs.assign(in, in + in_count);  // within the capacity that the test reserved
  f.executed_outputs.assign(out, out + out_count);
  for (uint32_t i = 0; i < out_count; ++i) std::memset(out[i].v1.client.data, 0x5A, out[i].v1.client.size);
  return 0;
}

template <class Function>
void put(abi::Slot slot, Function function);  // into the fake's table

inline void fill_backend_and_device() {
  using abi::Slot;
  put(Slot::kBackendCreate, +[](abi::LogHandle, const abi::BackendConfig** list, abi::BackendHandle* out) -> abi::Status {
    fake().backend_custom = list == nullptr ? nullptr : list[0]->const_pointer;
    *out = handle_of<abi::BackendHandle>(1);
    return record("backendCreate");
  });
  put(Slot::kBackendFree, +[](abi::BackendHandle) { return record("backendFree"); });
  put(Slot::kBackendGetBuildId, +[](const char** id) -> abi::Status {
    *id = "fake-1";
    return 0;
  });
  put(Slot::kBackendGetSupportedOperations, +[](abi::BackendHandle, uint32_t* count, const abi::OperationName** list) -> abi::Status {
    static const abi::OperationName names[] = {{"qti.aisw", "Relu", ""}, {"other", "Relu2", ""}, {"qti.aisw", "Conv2d", ""}};
    *count = 3;
    *list = names;
    return 0;
  });
  put(Slot::kBackendValidateOpConfig, &fake_validate);
  put(Slot::kLogCreate, +[](abi::LogCallback callback, uint32_t level, abi::LogHandle* out) -> abi::Status {
    fake().log = callback;
    fake().log_level = level;
    *out = handle_of<abi::LogHandle>(2);
    return record("logCreate");
  });
  put(Slot::kLogFree, +[](abi::LogHandle) { return record("logFree"); });
  put(Slot::kDeviceCreate, +[](abi::LogHandle, const abi::DeviceConfig** list, abi::DeviceHandle* out) -> abi::Status {
    fake().soc_bytes.clear();
    if (list != nullptr) {
      const auto* bytes = static_cast<const uint8_t*>(list[0]->const_pointer);
      fake().soc_bytes.assign(bytes, bytes + sizeof(abi::HtpDeviceCustomConfig));
    }
    *out = handle_of<abi::DeviceHandle>(3);
    record("deviceCreate");
    return fake().device_status;
  });
  put(Slot::kDeviceFree, +[](abi::DeviceHandle) { return record("deviceFree"); });
  put(Slot::kDeviceGetInfrastructure, +[](const abi::HtpInfrastructure** out) -> abi::Status {
    static const abi::HtpInfrastructure infrastructure{0, &create_power_id, &destroy_power_id, &set_power, nullptr};
    *out = fake().has_infrastructure ? &infrastructure : nullptr;
    return 0;
  });
}

inline void fill_context() {
  using abi::Slot;
  put(Slot::kContextCreate, +[](abi::BackendHandle, abi::DeviceHandle, const abi::ContextConfig**, abi::ContextHandle* out) -> abi::Status {
    *out = handle_of<abi::ContextHandle>(4);
    return record("contextCreate");
  });
  put(Slot::kContextCreateFromBinary, +[](abi::BackendHandle, abi::DeviceHandle, const abi::ContextConfig**, const void*, uint64_t size,
                                          abi::ContextHandle* out, abi::ProfileHandle) -> abi::Status {
    *out = handle_of<abi::ContextHandle>(5);
    record("contextCreateFromBinary");
    return size == 5 ? 0 : 5005;
  });
  put(Slot::kContextGetBinarySize, +[](abi::ContextHandle, uint64_t* size) -> abi::Status {
    *size = 16;
    return 0;
  });
  put(Slot::kContextGetBinary, +[](abi::ContextHandle, void* buffer, uint64_t, uint64_t* written) -> abi::Status {
    std::memcpy(buffer, "bytes", 5);
    *written = fake().truncates ? 17 : 5;
    return 0;
  });
  put(Slot::kContextFree, +[](abi::ContextHandle, abi::ProfileHandle) { return record("contextFree"); });
}

inline void fill_graph_and_profile() {
  using abi::Slot;
  put(Slot::kGraphCreate, +[](abi::ContextHandle, const char* name, const abi::GraphConfig** list, abi::GraphHandle* out) -> abi::Status {
    for (; list != nullptr && *list != nullptr; ++list) {
      const auto* custom = static_cast<const abi::HtpGraphCustomConfig*>((*list)->const_pointer);
      fake().graph_options.push_back(std::to_string(static_cast<uint32_t>(custom->option)) + ":" + std::to_string(custom->u32));
    }
    *out = handle_of<abi::GraphHandle>(6);
    return record((std::string("graphCreate ") + name).c_str());
  });
  put(Slot::kTensorCreateGraphTensor, +[](abi::GraphHandle, abi::Tensor* tensor) -> abi::Status {
    if (std::strcmp(tensor->v1.name, "refused") == 0) return 7004;
    tensor->v1.id = 100 + fake().next_id++;
    return 0;
  });
  put(Slot::kGraphAddNode, +[](abi::GraphHandle, abi::OpConfig op) { return record((std::string("addNode ") + op.name).c_str()); });
  put(Slot::kGraphFinalize, +[](abi::GraphHandle, abi::ProfileHandle, abi::SignalHandle) -> abi::Status {
    record("graphFinalize");
    return fake().finalize_status;
  });
  put(Slot::kGraphRetrieve, +[](abi::ContextHandle, const char* name, abi::GraphHandle* out) -> abi::Status {
    *out = handle_of<abi::GraphHandle>(7);
    return std::strcmp(name, "missing") == 0 ? 6003 : 0;
  });
  put(Slot::kGraphExecute, &fake_execute);
  put(Slot::kProfileCreate, +[](abi::BackendHandle, uint32_t, abi::ProfileHandle* out) -> abi::Status {
    *out = handle_of<abi::ProfileHandle>(8);
    return record("profileCreate");
  });
  put(Slot::kProfileFree, +[](abi::ProfileHandle) { return record("profileFree"); });
  put(Slot::kProfileGetEvents, +[](abi::ProfileHandle, const uint64_t** ids, uint32_t* count) -> abi::Status {
    static const uint64_t events[] = {1, 2};
    *ids = events;
    *count = 2;
    return 0;
  });
  put(Slot::kProfileGetSubEvents, +[](uint64_t id, const uint64_t** ids, uint32_t* count) -> abi::Status {
    static const uint64_t parts[] = {9};
    *ids = parts;
    *count = id == 2 ? 1 : 0;  // event 2 has a part
    return 0;
  });
  put(Slot::kProfileGetEventData, +[](uint64_t id, abi::EventData* out) -> abi::Status {
    *out = {static_cast<uint32_t>(400 + id), id == 9 ? abi::ProfileUnit::kCycles : abi::ProfileUnit::kMicroseconds, id * 1000, id == 1 ? nullptr : "part"};
    return 0;
  });
}

inline abi::QnnInterface& fake_interface() {
  static abi::QnnInterface provider{};
  return provider;
}

template <class Function>
void put(abi::Slot slot, Function function) {
  fake_interface().table[static_cast<size_t>(slot)] = reinterpret_cast<abi::AnyFunction>(function);
}

/// A fresh fake: state and table.
inline void reset_fake() {
  fake() = Fake{};
  abi::QnnInterface& provider = fake_interface();
  provider = {};
  provider.backend_id = abi::BackendId::kHtp;
  provider.provider_name = "FAKE_IN_PROCESS";
  provider.core = {2, 40, 0};
  provider.backend = {5, 51, 0};
  fill_backend_and_device();
  fill_context();
  fill_graph_and_profile();
}

inline abi::Status fake_get_providers(const abi::QnnInterface*** list, uint32_t* count) {
  static const abi::QnnInterface* pointers[1];
  pointers[0] = &fake_interface();
  *list = pointers;
  *count = 1;
  return 0;
}

}  // namespace lutra::qnn::testing
