// The QNN system interface (libQnnSystem): what a context binary contains. Same rules as abi.h.
#pragma once

#include "qnn/abi.h"

namespace lutra::qnn::abi {

enum class SystemSlot : uint32_t {
  kContextCreate = 0, kContextGetBinaryInfo = 1, kContextGetMetaData = 2, kContextFree = 3, kTensorGetMemoryFootprint = 4,
  kLogCreate = 5, kLogSetLogLevel = 6, kLogFree = 7,
};
/// Entries at system API 1.4; later releases append. Clients of newer releases copy up to kSystemSlotsOfNewestClients.
inline constexpr size_t kSystemSlotsAt14 = 13;
inline constexpr size_t kSystemSlotsOfNewestClients = 90;

struct GraphInfoV1 {
  const char* name;
  uint32_t input_count;
  Tensor* inputs;
  uint32_t output_count;
  Tensor* outputs;
};
struct GraphInfoV2 : GraphInfoV1 {
  uint32_t updateable_count;
  Tensor* updateables;
};
struct GraphInfoV3 : GraphInfoV2 {
  uint32_t blob_size;
  void* blob;
  uint32_t start_op, end_op;
};
struct GraphInfo {
  int32_t version;  // 1, 2 or 3; every later version begins with the fields of V1
  union {
    GraphInfoV1 v1;
    GraphInfoV3 v3;
  };
};

struct BinaryInfoCommon {
  uint32_t backend_id;
  const char* build_id;
  Version core;
  Version backend;
  const char* soc_version;
};
struct BinaryInfoV1 {
  BinaryInfoCommon common;
  Version hw_info_blob_version;
  Version context_blob_version;
  uint32_t hw_info_blob_size;
  void* hw_info_blob;
  uint64_t context_blob_size;
  uint32_t context_tensor_count;
  Tensor* context_tensors;
  uint32_t graph_count;
  GraphInfo* graphs;
};
struct BinaryInfoV3 {
  BinaryInfoCommon common;
  Version context_blob_version;
  uint64_t context_blob_size;
  uint32_t context_tensor_count;
  Tensor* context_tensors;
  uint32_t graph_count;
  GraphInfo* graphs;
  void* platform_info;
  uint32_t metadata_size;
  void* metadata;
  uint32_t soc_model;
};
struct BinaryInfo {
  int32_t version;  // 1, 2 (V1 and a platform pointer) or 3
  union {
    BinaryInfoV1 v1;
    struct {
      BinaryInfoV1 v1;
      void* platform_info;
    } v2;
    BinaryInfoV3 v3;
  };
};

using SystemContextCreateFn = Status (*)(SystemContextHandle*);
using SystemContextGetBinaryInfoFn = Status (*)(SystemContextHandle, void* buffer, uint64_t size, const BinaryInfo**, uint64_t* info_size);
using SystemContextGetMetaDataFn = Status (*)(SystemContextHandle, const void* buffer, uint64_t size, const BinaryInfo**);
using SystemContextFreeFn = Status (*)(SystemContextHandle);
using SystemTensorGetMemoryFootprintFn = Status (*)(Tensor, uint64_t* bytes);

template <size_t Slots>
struct SystemInterfaceOf {
  uint32_t backend_id;
  const char* provider_name;
  Version system;
  AnyFunction table[Slots];
};
using SystemInterface = SystemInterfaceOf<kSystemSlotsAt14>;

inline constexpr const char* kGetSystemProvidersSymbol = "QnnSystemInterface_getProviders";
using GetSystemProvidersFn = Status (*)(const SystemInterface*** providers, uint32_t* count);

static_assert(sizeof(GraphInfoV1) == 40 && sizeof(GraphInfoV2) == 56 && sizeof(GraphInfoV3) == 80 && sizeof(GraphInfo) == 88);
static_assert(sizeof(BinaryInfoV1) == 128 && offsetof(BinaryInfoV1, hw_info_blob_version) == 48 && offsetof(BinaryInfoV1, context_blob_version) == 60 &&
              offsetof(BinaryInfoV1, hw_info_blob_size) == 72 && offsetof(BinaryInfoV1, context_blob_size) == 88 &&
              offsetof(BinaryInfoV1, context_tensor_count) == 96 && offsetof(BinaryInfoV1, graph_count) == 112 && offsetof(BinaryInfoV1, graphs) == 120);
static_assert(sizeof(BinaryInfoV3) == 136 && offsetof(BinaryInfoV3, context_blob_version) == 48 && offsetof(BinaryInfoV3, context_blob_size) == 64 &&
              offsetof(BinaryInfoV3, context_tensor_count) == 72 && offsetof(BinaryInfoV3, context_tensors) == 80 &&
              offsetof(BinaryInfoV3, graph_count) == 88 && offsetof(BinaryInfoV3, graphs) == 96 && offsetof(BinaryInfoV3, platform_info) == 104 &&
              offsetof(BinaryInfoV3, metadata_size) == 112 && offsetof(BinaryInfoV3, soc_model) == 128);
static_assert(sizeof(BinaryInfo) == 144);
static_assert(sizeof(SystemInterface) == 136 && offsetof(SystemInterface, system) == 16 && offsetof(SystemInterface, table) == 32);

}  // namespace lutra::qnn::abi
