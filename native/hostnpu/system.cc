// The system interface: what a context binary contains, without making a context of it.
#include <deque>
#include <mutex>

#include "hostnpu/binary.h"
#include "hostnpu/calls.h"
#include "hostnpu/hostnpu.h"

namespace lutra::hostnpu {
namespace {

/// The description of one binary in the interface's structures, with all that they point at.
class Metadata {
 public:
  explicit Metadata(std::span<const std::byte> binary) : stored_(read_binary(binary)) {
    for (StoredGraph& graph : stored_.graphs) {
      std::vector<abi::Tensor>& inputs = lists_.emplace_back();
      std::vector<abi::Tensor>& outputs = lists_.emplace_back();
      for (StoredTensor& tensor : graph.tensors) {
        if (tensor.info.is_input()) inputs.push_back(describe(tensor.info));
        if (tensor.info.is_output()) outputs.push_back(describe(tensor.info));
      }
      abi::GraphInfo info{};
      info.version = 1;
      info.v1 = {graph.name.c_str(), static_cast<uint32_t>(inputs.size()), inputs.data(), static_cast<uint32_t>(outputs.size()), outputs.data()};
      graphs_.push_back(info);
    }
    std::vector<abi::Tensor>& constants = lists_.emplace_back();
    for (StoredTensor& tensor : stored_.tensors) constants.push_back(describe(tensor.info));
    info_.version = 1;
    abi::BinaryInfoV1& v1 = info_.v1;
    v1 = {};
    v1.common.backend_id = static_cast<uint32_t>(abi::BackendId::kHtp);
    v1.common.build_id = kBuildId;
    v1.common.core = kApiVersion.core;
    v1.common.backend = kApiVersion.backend;
    v1.common.soc_version = "host";
    v1.context_blob_version = {kBinaryVersion, 0, 0};
    v1.context_blob_size = binary.size();
    v1.context_tensor_count = static_cast<uint32_t>(constants.size());
    v1.context_tensors = constants.data();
    v1.graph_count = static_cast<uint32_t>(graphs_.size());
    v1.graphs = graphs_.data();
  }
  Metadata(const Metadata&) = delete;
  Metadata& operator=(const Metadata&) = delete;

  const abi::BinaryInfo& info() const noexcept { return info_; }

 private:
  abi::Tensor describe(TensorInfo& info) {
    abi::Tensor tensor{};
    tensor.version = 1;
    abi::TensorV1& out = tensor.v1;
    out.id = info.id;
    out.name = info.name.c_str();
    out.type = info.type;
    out.format = abi::DataFormat::kDense;
    out.dtype = info.dtype;
    out.rank = static_cast<uint32_t>(info.dims.size());
    out.dims = info.dims.data();
    out.quantize.definition = abi::QuantizeDefinition::kUndefined;
    out.quantize.encoding = abi::QuantizeEncoding::kUndefined;
    if (info.quantization.kind == Quantization::Kind::kPerTensor) {
      out.quantize.definition = abi::QuantizeDefinition::kDefined;
      out.quantize.encoding = abi::QuantizeEncoding::kScaleOffset;
      out.quantize.scale_offset = {info.quantization.values[0].scale, info.quantization.values[0].offset};
    } else if (info.quantization.kind == Quantization::Kind::kAxis) {
      std::vector<abi::ScaleOffset>& scales = scales_.emplace_back();
      for (const kernels::Affine& one : info.quantization.values) scales.push_back({one.scale, one.offset});
      out.quantize.definition = abi::QuantizeDefinition::kDefined;
      out.quantize.encoding = abi::QuantizeEncoding::kAxisScaleOffset;
      out.quantize.axis = {info.quantization.axis, static_cast<uint32_t>(scales.size()), scales.data()};
    }
    return tensor;
  }

  StoredContext stored_;  // names and shapes that the structures point at
  std::deque<std::vector<abi::Tensor>> lists_;
  std::deque<std::vector<abi::ScaleOffset>> scales_;
  std::vector<abi::GraphInfo> graphs_;
  abi::BinaryInfo info_{};
};

class SystemContext : public Object {
 public:
  static constexpr Kind kKind = Kind::kSystemContext;
  SystemContext() noexcept : Object(kKind) {}
  /// Valid until the next call or until the context is freed.
  const abi::BinaryInfo* describe(std::span<const std::byte> binary) {
    const std::lock_guard lock(mutex_);
    metadata_ = std::make_unique<Metadata>(binary);
    return &metadata_->info();
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<Metadata> metadata_;
};

abi::Status context_create(abi::SystemContextHandle* out) {
  if (out == nullptr) return abi::kInvalidArgument;
  return guarded(nullptr, [&] { *out = publish<abi::SystemContextHandle>(std::make_shared<SystemContext>()); });
}

abi::Status context_get_meta_data(abi::SystemContextHandle handle, const void* buffer, uint64_t size, const abi::BinaryInfo** out) {
  const auto context = lookup<SystemContext>(handle);
  if (context == nullptr) return abi::kSystemInvalidHandle;
  if (buffer == nullptr || size == 0 || out == nullptr) return abi::kInvalidArgument;
  const abi::Status status = guarded(nullptr, [&] { *out = context->describe({static_cast<const std::byte*>(buffer), size}); });
  return status == abi::kSuccess || status == abi::kMemAlloc ? status : static_cast<abi::Status>(abi::kSystemMalformedBinary);
}

abi::Status context_get_binary_info(abi::SystemContextHandle handle, void* buffer, uint64_t size, const abi::BinaryInfo** out, uint64_t* info_size) {
  if (info_size == nullptr) return abi::kInvalidArgument;
  const abi::Status status = context_get_meta_data(handle, buffer, size, out);
  *info_size = status == abi::kSuccess ? sizeof(abi::BinaryInfo) : 0;
  return status;
}

abi::Status context_free(abi::SystemContextHandle handle) { return release<SystemContext>(handle) == nullptr ? abi::kSystemInvalidHandle : abi::kSuccess; }

abi::Status tensor_get_memory_footprint(abi::Tensor tensor, uint64_t* bytes) {
  if (bytes == nullptr) return abi::kInvalidArgument;
  return guarded(nullptr, [&] { *bytes = parse_tensor(tensor).bytes(); });
}

using Interface = abi::SystemInterfaceOf<abi::kSystemSlotsOfNewestClients>;

Interface make_interface() noexcept {
  Interface out{};
  out.backend_id = static_cast<uint32_t>(abi::BackendId::kNull);
  out.provider_name = kSystemProviderName;
  out.system = kSystemApiVersion;
  const auto put_system = [&out](abi::SystemSlot slot, auto function) { out.table[static_cast<size_t>(slot)] = reinterpret_cast<abi::AnyFunction>(function); };
  put_system(abi::SystemSlot::kContextCreate, static_cast<abi::SystemContextCreateFn>(context_create));
  put_system(abi::SystemSlot::kContextGetBinaryInfo, static_cast<abi::SystemContextGetBinaryInfoFn>(context_get_binary_info));
  put_system(abi::SystemSlot::kContextGetMetaData, static_cast<abi::SystemContextGetMetaDataFn>(context_get_meta_data));
  put_system(abi::SystemSlot::kContextFree, static_cast<abi::SystemContextFreeFn>(context_free));
  put_system(abi::SystemSlot::kTensorGetMemoryFootprint, static_cast<abi::SystemTensorGetMemoryFootprintFn>(tensor_get_memory_footprint));
  put_system(abi::SystemSlot::kLogCreate, static_cast<abi::LogCreateFn>(log_create));
  put_system(abi::SystemSlot::kLogSetLogLevel, static_cast<abi::LogSetLogLevelFn>(log_set_level));
  put_system(abi::SystemSlot::kLogFree, static_cast<abi::LogFreeFn>(log_free));
  return out;
}

}  // namespace

abi::Status get_system_providers(const abi::SystemInterface*** providers, uint32_t* count) noexcept {
  if (providers == nullptr || count == nullptr) return abi::kInvalidArgument;
  static const Interface interface = make_interface();
  static const abi::SystemInterface* list[] = {reinterpret_cast<const abi::SystemInterface*>(&interface)};
  *providers = list;
  *count = 1;
  return abi::kSuccess;
}

}  // namespace lutra::hostnpu

extern "C" __attribute__((visibility("default"))) lutra::qnn::abi::Status QnnSystemInterface_getProviders(const lutra::qnn::abi::SystemInterface*** providers, uint32_t* count) {
  return lutra::hostnpu::get_system_providers(providers, count);
}
