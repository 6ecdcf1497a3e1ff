// A small client of the QNN C interface for tests of the host NPU: it knows the table and nothing of what is behind it.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/f16.h"
#include "hostnpu/hostnpu.h"
#include "qnn/abi_system.h"

namespace lutra::test {

namespace abi = qnn::abi;
using abi::DataType;
using abi::Slot;
using abi::Status;
using abi::TensorType;

/// As clients of the newest releases see it.
using Interface = abi::InterfaceOf<abi::kSlotsOfNewestClients>;

/// The shared library named by LUTRA_QNN_HOST, or the objects that are linked in.
inline const Interface& host() {
  static const Interface* interface = [] {
    const abi::QnnInterface** list = nullptr;
    uint32_t count = 0;
    abi::GetProvidersFn get = [](const abi::QnnInterface*** providers, uint32_t* n) { return hostnpu::get_providers(providers, n); };
    if (const char* path = std::getenv("LUTRA_QNN_HOST")) {
      void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) {
        ADD_FAILURE() << dlerror();
      } else {
        get = reinterpret_cast<abi::GetProvidersFn>(dlsym(library, abi::kGetProvidersSymbol));
      }
    }
    EXPECT_EQ(get(&list, &count), 0u);
    EXPECT_EQ(count, 1u);
    return reinterpret_cast<const Interface*>(list[0]);
  }();
  return *interface;
}

inline abi::SystemInterfaceOf<abi::kSystemSlotsOfNewestClients> system_host() {
  abi::GetSystemProvidersFn get = [](const abi::SystemInterface*** providers, uint32_t* n) { return hostnpu::get_system_providers(providers, n); };
  if (const char* path = std::getenv("LUTRA_QNN_HOST")) get = reinterpret_cast<abi::GetSystemProvidersFn>(dlsym(dlopen(path, RTLD_NOW | RTLD_LOCAL), abi::kGetSystemProvidersSymbol));
  const abi::SystemInterface** list = nullptr;
  uint32_t count = 0;
  EXPECT_EQ(get(&list, &count), 0u);
  abi::SystemInterfaceOf<abi::kSystemSlotsOfNewestClients> copy;
  std::memcpy(static_cast<void*>(&copy), list[0], sizeof copy);
  return copy;
}

template <class Fn>
Fn slot(Slot which) {
  return reinterpret_cast<Fn>(host().table[static_cast<size_t>(which)]);
}

inline size_t bytes_of(DataType type) {
  switch (type) {
    case DataType::kUfixed8:
    case DataType::kSfixed8: return 1;
    case DataType::kUfixed16:
    case DataType::kFloat16: return 2;
    default: return 4;
  }
}
inline bool is_code(DataType type) { return type == DataType::kUfixed8 || type == DataType::kSfixed8 || type == DataType::kUfixed16; }
inline int64_t lowest(DataType type) { return type == DataType::kSfixed8 ? -128 : 0; }
inline int64_t highest(DataType type) { return type == DataType::kSfixed8 ? 127 : type == DataType::kUfixed16 ? 65535 : 255; }

/// A tensor of a test graph with its data as the interface sees them.
struct TestTensor {
  std::string name;
  TensorType type = TensorType::kNative;
  DataType dtype = DataType::kFloat16;
  std::vector<uint32_t> dims;
  bool quantized = false;
  int32_t axis = -1;  // ≥ 0: one scale per index of that axis
  std::vector<abi::ScaleOffset> scales;
  std::vector<std::byte> data;
  abi::Tensor qnn{};

  size_t elements() const {
    size_t n = 1;
    for (uint32_t d : dims) n *= d;
    return n;
  }
  size_t bytes() const { return elements() * bytes_of(dtype); }
  void fill_struct() {
    const uint32_t id = qnn.v1.id;
    qnn = {};
    qnn.version = 1;
    abi::TensorV1& t = qnn.v1;
    t.id = id;
    t.name = name.c_str();
    t.type = type;
    t.dtype = dtype;
    t.rank = static_cast<uint32_t>(dims.size());
    t.dims = dims.data();
    t.quantize.definition = quantized ? abi::QuantizeDefinition::kDefined : abi::QuantizeDefinition::kUndefined;
    t.quantize.encoding = !quantized ? abi::QuantizeEncoding::kUndefined : axis >= 0 ? abi::QuantizeEncoding::kAxisScaleOffset : abi::QuantizeEncoding::kScaleOffset;
    if (quantized && axis >= 0) t.quantize.axis = {axis, static_cast<uint32_t>(scales.size()), scales.data()};
    if (quantized && axis < 0) t.quantize.scale_offset = scales[0];
    if (type == TensorType::kStatic) t.client = {data.data(), static_cast<uint32_t>(data.size())};
  }

  template <class T>
  T at(size_t i) const {
    T v;
    std::memcpy(&v, data.data() + i * sizeof(T), sizeof v);
    return v;
  }
  int64_t code(size_t i) const {
    switch (dtype) {
      case DataType::kUfixed8: return at<uint8_t>(i);
      case DataType::kSfixed8: return at<int8_t>(i);
      case DataType::kUfixed16: return at<uint16_t>(i);
      default: return at<int32_t>(i);
    }
  }
  /// The value that element i stands for; per-tensor encodings only.
  double real(size_t i) const {
    if (dtype == DataType::kFloat32) return at<float>(i);
    if (dtype == DataType::kFloat16) return f16_to_f32(at<uint16_t>(i));
    return static_cast<double>(code(i) + scales[0].offset) * static_cast<double>(scales[0].scale);
  }
};

/// Backend, device and context with a log that keeps its lines.
class Session {
 public:
  explicit Session(const hostnpu::BackendCustomConfig* custom = nullptr, uint32_t log_level = 1) {
    EXPECT_EQ(slot<abi::LogCreateFn>(Slot::kLogCreate)(&Session::on_log, log_level, &log), 0u);
    abi::BackendConfig config{};
    config.option = abi::BackendOption::kCustom;
    config.const_pointer = custom;
    const abi::BackendConfig* list[] = {&config, nullptr};
    EXPECT_EQ(slot<abi::BackendCreateFn>(Slot::kBackendCreate)(log, custom == nullptr ? nullptr : list, &backend), 0u);
    EXPECT_EQ(slot<abi::DeviceCreateFn>(Slot::kDeviceCreate)(log, nullptr, &device), 0u);
    EXPECT_EQ(slot<abi::ContextCreateFn>(Slot::kContextCreate)(backend, device, nullptr, &context), 0u);
    lines().clear();
  }
  ~Session() {
    if (context != nullptr) {
      EXPECT_EQ(slot<abi::ContextFreeFn>(Slot::kContextFree)(context, nullptr), 0u);
    }
    EXPECT_EQ(slot<abi::DeviceFreeFn>(Slot::kDeviceFree)(device), 0u);
    EXPECT_EQ(slot<abi::BackendFreeFn>(Slot::kBackendFree)(backend), 0u);
    EXPECT_EQ(slot<abi::LogFreeFn>(Slot::kLogFree)(log), 0u);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Lines logged by this thread's calls.
  static std::vector<std::string>& lines() {
    static thread_local std::vector<std::string> kept;
    return kept;
  }
  static void on_log(const char* format, uint32_t, uint64_t, va_list arguments) {
    char line[2048];
    std::vsnprintf(line, sizeof line, format, arguments);
    lines().push_back(line);
  }

  abi::LogHandle log{};
  abi::BackendHandle backend{};
  abi::DeviceHandle device{};
  abi::ContextHandle context{};
};

/// A graph under construction; every call that fails is a test failure unless its status is asked for.
class TestGraph {
 public:
  TestGraph(Session& session, const std::string& name) : session_(session) {
    EXPECT_EQ(slot<abi::GraphCreateFn>(Slot::kGraphCreate)(session.context, name.c_str(), nullptr, &handle), 0u);
  }

  TestTensor& add(TestTensor tensor) {
    Status status = 0;
    TestTensor& added = try_add(std::move(tensor), &status);
    EXPECT_EQ(status, 0u) << added.name << ": " << (Session::lines().empty() ? "" : Session::lines().back());
    return added;
  }
  TestTensor& try_add(TestTensor tensor, Status* status) {
    tensors.push_back(std::move(tensor));
    TestTensor& added = tensors.back();
    if (added.type == TensorType::kAppWrite || added.type == TensorType::kAppRead) added.data.resize(added.bytes());
    added.fill_struct();
    if (added.type == TensorType::kStatic) {
      // The library has to copy: what it was given is overwritten at once.
      std::vector<std::byte> given = added.data;
      added.qnn.v1.client.data = given.data();
      *status = slot<abi::TensorCreateGraphTensorFn>(Slot::kTensorCreateGraphTensor)(handle, &added.qnn);
      std::fill(given.begin(), given.end(), std::byte{0xee});
      added.qnn.v1.client = {added.data.data(), static_cast<uint32_t>(added.data.size())};
    } else {
      *status = slot<abi::TensorCreateGraphTensorFn>(Slot::kTensorCreateGraphTensor)(handle, &added.qnn);
    }
    return added;
  }

  static abi::Param scalar(const char* name, DataType type, uint32_t bits) {
    abi::Param p{};
    p.type = abi::ParamType::kScalar;
    p.name = name;
    p.scalar.dtype = type;
    p.scalar.u32 = bits;
    return p;
  }
  static abi::Param float_param(const char* name, float value) {
    abi::Param p = scalar(name, DataType::kFloat32, 0);
    p.scalar.f32 = value;
    return p;
  }
  abi::Param words(const char* name, std::vector<uint32_t> dims, const std::vector<uint32_t>& values) {
    TestTensor t;
    t.name = std::string(name) + std::to_string(tensors.size());
    t.type = TensorType::kStatic;
    t.dtype = DataType::kUint32;
    t.dims = std::move(dims);
    t.data.resize(values.size() * 4);
    std::memcpy(t.data.data(), values.data(), t.data.size());
    abi::Param p{};
    p.type = abi::ParamType::kTensor;
    p.name = name;
    p.tensor = add(std::move(t)).qnn;
    return p;
  }

  struct Statuses {
    Status validate, add;
  };
  Statuses try_node(const char* type, const std::vector<TestTensor*>& inputs, TestTensor& output, std::vector<abi::Param> params = {}) {
    const std::string name = std::string(type) + "_" + std::to_string(node_count_++);
    std::vector<abi::Tensor> in;
    for (TestTensor* one : inputs) in.push_back(one->qnn);
    abi::OpConfig op{1, name.c_str(), "qti.aisw", type, static_cast<uint32_t>(params.size()), params.data(), static_cast<uint32_t>(in.size()), in.data(), 1, &output.qnn};
    return {slot<abi::BackendValidateOpConfigFn>(Slot::kBackendValidateOpConfig)(session_.backend, op), slot<abi::GraphAddNodeFn>(Slot::kGraphAddNode)(handle, op)};
  }
  void node(const char* type, const std::vector<TestTensor*>& inputs, TestTensor& output, std::vector<abi::Param> params = {}) {
    const Statuses status = try_node(type, inputs, output, std::move(params));
    EXPECT_EQ(status.validate, 0u) << (Session::lines().empty() ? "" : Session::lines().back());
    EXPECT_EQ(status.add, 0u) << (Session::lines().empty() ? "" : Session::lines().back());
  }

  Status finalize(abi::ProfileHandle profile = nullptr) { return slot<abi::GraphFinalizeFn>(Slot::kGraphFinalize)(handle, profile, nullptr); }
  Status execute(abi::ProfileHandle profile = nullptr) { return execute_as(handle, profile); }
  /// Executes `other`, which has the tensors of this graph.
  Status execute_as(abi::GraphHandle other, abi::ProfileHandle profile = nullptr) {
    std::vector<abi::Tensor> in, out;
    for (TestTensor& t : tensors) {
      if (t.type != TensorType::kAppWrite && t.type != TensorType::kAppRead) continue;
      abi::Tensor q = t.qnn;
      q.v1.client = {t.data.data(), static_cast<uint32_t>(t.data.size())};
      if (t.type == TensorType::kAppWrite) in.push_back(q);
      if (t.type == TensorType::kAppRead) out.insert(out.begin(), q);  // the order is free
      if (t.type == TensorType::kAppRead) std::fill(t.data.begin(), t.data.end(), std::byte{0xcc});
    }
    return slot<abi::GraphExecuteFn>(Slot::kGraphExecute)(other, in.data(), static_cast<uint32_t>(in.size()), out.data(), static_cast<uint32_t>(out.size()), profile, nullptr);
  }

  abi::GraphHandle handle{};
  std::deque<TestTensor> tensors;  // addresses stay

 private:
  Session& session_;
  int node_count_ = 0;
};

}  // namespace lutra::test
