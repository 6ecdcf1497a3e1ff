// The QNN C interface as lutra declares it: memory layouts, enum values and call signatures, checked by static_assert.
//
// Both sides of the interface use this header: the client (native/qnn) and the host NPU (native/hostnpu). It holds facts of the
// published interface only and no behaviour. Layouts are those of core API 2.27 and later on LP64 targets (x86-64 and AArch64);
// earlier releases order the function table differently, so the version has to be checked before any slot is read.
// "By value" matters: OpConfig is passed by value, all other structures by pointer.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>

namespace lutra::qnn::abi {

/// What every call returns: 0, or an error whose code is in the low 16 bits.
using Status = uint64_t;
/// Opaque objects of the library. Distinct types so that a graph cannot be passed where a context is meant.
using LogHandle = struct LogTag*;
using BackendHandle = struct BackendTag*;
using DeviceHandle = struct DeviceTag*;
using ContextHandle = struct ContextTag*;
using GraphHandle = struct GraphTag*;
using ProfileHandle = struct ProfileTag*;
using SignalHandle = struct SignalTag*;
using MemHandle = struct MemTag*;
using SystemContextHandle = struct SystemContextTag*;

// ---------------------------------------------------------------------------------------------------------------- enums

enum class BackendId : uint32_t { kNull = 0, kReference = 1, kSaver = 2, kCpu = 3, kGpu = 4, kDsp = 5, kHtp = 6 };

/// Element types of a tensor.
enum class DataType : uint32_t {
  kInt8 = 0x0008, kInt16 = 0x0016, kInt32 = 0x0032, kInt64 = 0x0064,
  kUint8 = 0x0108, kUint16 = 0x0116, kUint32 = 0x0132, kUint64 = 0x0164,
  kFloat16 = 0x0216, kFloat32 = 0x0232, kFloat64 = 0x0264,
  kSfixed4 = 0x0304, kSfixed8 = 0x0308, kSfixed16 = 0x0316, kSfixed32 = 0x0332,
  kUfixed4 = 0x0404, kUfixed8 = 0x0408, kUfixed16 = 0x0416, kUfixed32 = 0x0432,
  kBool8 = 0x0508, kString = 0x0608, kUndefined = 0x7FFFFFFF,
};

enum class TensorType : uint32_t {
  kAppWrite = 0,      // graph input, data given at every execution
  kAppRead = 1,       // graph output
  kAppReadWrite = 2,
  kNative = 3,        // between nodes of a graph
  kStatic = 4,        // data given at creation, copied by the library
  kNull = 5,          // an optional input that is left out
  kUpdateableStatic = 6, kUpdateableNative = 7, kUpdateableAppWrite = 8, kUpdateableAppRead = 9, kUpdateableAppReadWrite = 10,
  kOptionalAppWrite = 11, kOptionalAppRead = 12, kOptionalAppReadWrite = 13,
};

enum class QuantizeDefinition : int32_t { kImplGenerated = 0, kDefined = 1, kUndefined = 0x7FFFFFFF };

enum class QuantizeEncoding : int32_t {
  kScaleOffset = 0, kAxisScaleOffset = 1, kBwScaleOffset = 2, kBwAxisScaleOffset = 3, kBlock = 4,
  kBlockwiseExpansion = 5, kVector = 6, kFloatBlock = 7, kUndefined = 0x7FFFFFFF,
};

enum class DataFormat : uint32_t { kDense = 0, kSparse = 1, kCodebook = 2, kMx = 3, kHmxWeightLayout = 8 };
enum class TensorMemType : uint32_t { kRaw = 0, kMemHandle = 1, kRetrieveRaw = 2 };
/// Where registered memory comes from.
enum class MemType : uint32_t { kIon = 1, kCustom = 2, kDmaBuf = 3 };
enum class ParamType : int32_t { kScalar = 0, kTensor = 1 };
enum class LogLevel : uint32_t { kError = 1, kWarn = 2, kInfo = 3, kVerbose = 4, kDebug = 5 };
enum class Priority : uint32_t { kLow = 0, kNormal = 100, kNormalHigh = 150, kHigh = 200 };

enum class ProfileLevel : uint32_t { kBasic = 1, kDetailed = 2, kBackend = 1000, kHtpLinting = 7001 };
enum class ProfileUnit : uint32_t { kMicroseconds = 1, kBytes = 2, kCycles = 3, kCount = 4, kObject = 5, kNone = 6 };
enum class ProfileEventType : uint32_t {
  kInit = 100, kFinalize = 300, kExecute = 400, kNode = 404, kExecuteQueueWait = 405, kExecutePreprocess = 406,
  kExecuteDevice = 407, kExecutePostprocess = 408, kDeinit = 500,
  kHtpExecuteHostRpcUs = 3001, kHtpExecuteRpcUs = 3002, kHtpExecuteAccelCycles = 3003, kHtpExecuteAccelUs = 3004,
  kHtpHvxThreads = 8001,
};

/// `option` of the configuration structures.
enum class BackendOption : int32_t { kCustom = 0, kErrorReporting = 1, kPlatform = 2 };
enum class ContextOption : int32_t {
  kCustom = 0, kPriority = 1, kErrorReporting = 2, kOemString = 3, kAsyncQueueDepth = 4, kEnableGraphs = 5,
  kMemoryLimitHint = 6, kPersistentBinary = 7, kBinaryCompatibility = 8, kDeferGraphInit = 9,
};
enum class GraphOption : int32_t { kCustom = 0, kPriority = 3, kProfileHandle = 4, kProfilingState = 5, kNumProfilingExecutions = 6 };
enum class DeviceOption : int32_t { kCustom = 0, kPlatformInfo = 1 };
enum class ProfileOption : int32_t { kCustom = 0, kMaxEvents = 1, kEnableOptrace = 2 };
enum class SignalOption : int32_t { kCustom = 0, kAbort = 1, kTimeout = 2 };  // the value of kTimeout is in microseconds
/// Value of GraphOption::kProfilingState.
enum class ProfilingState : uint32_t { kEnabled = 1, kDisabled = 2 };
enum class EnvironmentOption : uint32_t { kBindMemHandles = 0, kPopulateClientBuffers = 1 };

enum class HtpDeviceOption : uint32_t { kSoc = 0, kArch = 1, kSignedPd = 2, kSecurePd = 3 };
enum class HtpGraphOption : uint32_t {
  kOptimization = 1, kPrecision = 2, kVtcmMb = 3, kFoldRelu = 4, kShortDepthConv = 5, kNumHvxThreads = 6, kNumCores = 8,
};
enum class HtpContextOption : uint32_t {
  kWeightSharing = 1, kRegisterMultiContexts = 2, kFileReadMemoryBudget = 3, kShareResources = 5, kIoMemEstimation = 6,
  kPrepareOnly = 7, kInitAcceleration = 8,
};

/// Error codes: the low 16 bits of a Status. Ranges: 1000 common, 2000 property, 3000 op package, 4000 backend, 5000 context, 6000 graph,
/// 7000 tensor, 8000 memory, 9000 signal, 10000 error, 12000 profile, 14000 device, 30000 system.
enum ErrorCode : uint32_t {
  kSuccess = 0,
  kNotSupported = 1000, kMemAlloc = 1002, kSystem = 1003, kInvalidArgument = 1004, kNotPermitted = 1005,
  kPlatformNotSupported = 1006, kSystemCommunication = 1007, kIncompatibleBinaries = 1008, kLoadingBinaries = 1009,
  kResourceUnavailable = 1010, kSystemCommunicationFatal = 1011, kGeneral = 1100,
  kPropertyUnknownKey = 2000,
  kOpPackageValidationFailure = 3110,
  kBackendCannotInitialize = 4000, kBackendNotSupported = 4003, kBackendInvalidArgument = 4004, kBackendDuplicate = 4009,
  kBackendInvalidHandle = 4011,
  kContextInvalidArgument = 5000, kContextInvalidHandle = 5002, kContextNotFinalized = 5003, kContextBinaryVersion = 5004,
  kContextCreateFromBinary = 5005, kContextBinaryConfiguration = 5008, kContextInvalidConfig = 5010, kContextBinarySuboptimal = 5011,
  kContextAborted = 5012, kContextTimedOut = 5013,
  kGraphInvalidArgument = 6000, kGraphInvalidHandle = 6001, kGraphInvalidName = 6003, kGraphInvalidTensor = 6004,
  kGraphInvalidOpConfig = 6005, kGraphUnconnectedNode = 6007, kGraphCreateFailed = 6020, kGraphOptimizationFailed = 6021,
  kGraphFinalizeFailed = 6022, kGraphNotFinalized = 6023, kGraphFinalized = 6024, kGraphQueueFull = 6025, kGraphSignalInUse = 6030,
  kGraphAborted = 6031, kGraphProfileInUse = 6032, kGraphTimedOut = 6033, kGraphDisabled = 6035, kGraphInvalidContext = 6039,
  kTensorInvalidHandle = 7001, kTensorDoesNotExist = 7002, kTensorAlreadyExists = 7003, kTensorInvalidParam = 7004,
  kTensorUnsupportedParam = 7005, kTensorNameHashCollision = 7006, kTensorIncompatibleUpdate = 7007,
  kMemInvalidArgument = 8000, kMemInvalidHandle = 8001, kMemAlreadyRegistered = 8002, kMemMapping = 8003, kMemShape = 8004,
  kMemUnsupportedType = 8005,
  kSignalInUse = 9000, kSignalIdle = 9001, kSignalInvalidArgument = 9002, kSignalInvalidHandle = 9003, kSignalIncompatibleType = 9005,
  kErrorInvalidArgument = 10000, kErrorInvalidHandle = 10001,
  kProfileInvalidHandle = 12000, kProfileInUse = 12001, kProfileIncompatibleEvent = 12002,
  kDeviceInvalidHandle = 14000, kDeviceInvalidConfig = 14001, kDeviceHardwareUnavailable = 14002, kDeviceAssociatedToContext = 14003,
  kSystemInvalidHandle = 30000, kSystemOperationFailed = 30002, kSystemMalformedBinary = 30010,
};

// -------------------------------------------------------------------------------------------------------------- tensors

struct Version {
  uint32_t major, minor, patch;
};

struct ApiVersion {
  Version core;
  Version backend;
};

/// real = (q + offset) * scale, so offset is minus the zero point.
struct ScaleOffset {
  float scale;
  int32_t offset;
};

struct AxisScaleOffset {
  int32_t axis;
  uint32_t count;
  ScaleOffset* scale_offset;
};

struct BwScaleOffset {
  uint32_t bitwidth;
  float scale;
  int32_t offset;
};

struct BwAxisScaleOffset {
  uint32_t bitwidth;
  int32_t axis;
  uint32_t count;
  float* scales;
  int32_t* offsets;
};

struct BlockEncoding {
  uint32_t* block_size;
  ScaleOffset* scale_offset;
};

struct BlockwiseExpansion {
  int32_t axis;
  ScaleOffset* scale_offsets;
  uint32_t blocks_per_axis;
  uint32_t block_scale_bitwidth;
  uint32_t block_scale_storage;  // 0: 8 bit, 1: 16 bit
  void* block_scales;
};

/// Unquantised tensors have definition and encoding kUndefined; others need definition kDefined.
struct QuantizeParams {
  QuantizeDefinition definition;
  QuantizeEncoding encoding;
  union {
    ScaleOffset scale_offset;
    AxisScaleOffset axis;
    BwScaleOffset bw_scale_offset;
    BwAxisScaleOffset bw_axis;
    BlockEncoding block;
    BlockwiseExpansion* blockwise_expansion;
    void* vector;
  };
};

struct ClientBuffer {
  void* data;
  uint32_t size;  // bytes
};

struct TensorV1 {
  uint32_t id;
  const char* name;
  TensorType type;
  DataFormat format;
  DataType dtype;
  QuantizeParams quantize;
  uint32_t rank;
  uint32_t* dims;
  TensorMemType mem_type;
  union {
    ClientBuffer client;
    MemHandle mem;
  };
};

struct TensorV2 {
  uint32_t id;
  const char* name;
  TensorType type;
  DataFormat format;
  DataType dtype;
  QuantizeParams quantize;
  uint32_t rank;
  uint32_t* dims;
  TensorMemType mem_type;
  union {
    ClientBuffer client;
    MemHandle mem;
    void* retrieve_raw;
  };
  uint8_t* is_dynamic_dims;
  struct {
    uint32_t type, first, second;
  } sparse;
  uint8_t is_produced;
};

/// TensorV2 begins with the fields of TensorV1, so `v1` may be read for both versions.
struct Tensor {
  int32_t version;  // 1 or 2
  union {
    TensorV1 v1;
    TensorV2 v2;
  };
};

// ------------------------------------------------------------------------------------------------------------------ ops

struct Scalar {
  DataType dtype;
  union {
    float f32;
    uint32_t u32;
    int32_t i32;
    uint8_t bool8;
    uint64_t bits;
    const char* string;
  };
};

struct Param {
  ParamType type;
  const char* name;
  union {
    Scalar scalar;
    Tensor tensor;
  };
};

struct OpConfig {
  int32_t version;  // 1
  const char* name;
  const char* package;
  const char* type;
  uint32_t param_count;
  Param* params;
  uint32_t input_count;
  Tensor* inputs;
  uint32_t output_count;
  Tensor* outputs;
};

struct OperationName {
  const char* package;
  const char* name;
  const char* target;
};

// -------------------------------------------------------------------------------------------------------- configurations

/// One entry of a NULL-terminated list of pointers; `Option` is one of the option enums above.
template <class Option>
struct Config {
  Option option;
  union {
    void* pointer;
    const void* const_pointer;
    uint64_t value;
    uint8_t bool8;
  };
};
using BackendConfig = Config<BackendOption>;
using ContextConfig = Config<ContextOption>;
using GraphConfig = Config<GraphOption>;
using DeviceConfig = Config<DeviceOption>;
using ProfileConfig = Config<ProfileOption>;
using SignalConfig = Config<SignalOption>;
using AnyConfig = Config<int32_t>;
/// A property that is asked for; `pointer` is to a structure of the backend's.
using Property = Config<int32_t>;

/// Value of ContextOption::kAsyncQueueDepth, in the place of Config::value.
struct AsyncQueueDepth {
  uint32_t type;  // 0: a number
  uint32_t depth;
};

/// Custom configuration of an HTP device. Current runtimes read the value at offset 8, early ones at offset 4; for kSoc both fields
/// take the same id, so that either layout is served.
struct HtpDeviceCustomConfig {
  HtpDeviceOption option;
  uint32_t legacy_value;
  union {
    uint32_t soc;
    struct {
      uint32_t device_id, arch;
    } arch;
    uint64_t bits[2];
  };
};

/// Optimization type whose value is the compiler level 1, 2 or 3.
inline constexpr uint32_t kHtpFinalizeOptimizationFlag = 3;
struct HtpGraphCustomConfig {
  HtpGraphOption option;
  union {
    struct {
      uint32_t type;
      float value;
    } optimization;
    uint32_t u32;
    uint64_t u64;
    uint8_t bool8;
    uint64_t bits[6];
  };
};

struct HtpContextCustomConfig {
  HtpContextOption option;
  union {
    uint8_t bool8;
    uint64_t u64;
    uint64_t bits[2];
  };
};

/// Dynamic clock and voltage scaling vote.
struct HtpDcvsV3 {
  uint32_t context_id, set_dcvs_enable, dcvs_enable, power_mode, set_sleep_latency, sleep_latency_us, set_sleep_disable, sleep_disable,
      set_bus, bus_min, bus_target, bus_max, set_core, core_min, core_target, core_max;
};
enum class HtpPowerOption : uint32_t { kDcvsV3 = 1, kRpcControlLatency = 2, kRpcPollingTime = 3, kHmxTimeout = 4, kHmxV2 = 5 };
struct HtpPowerConfig {
  HtpPowerOption option;
  union {
    HtpDcvsV3 dcvs_v3;
    uint32_t u32;
    struct {
      uint32_t pick_default, min, target, max, perf_mode;
    } hmx_v2;
  };
};
inline constexpr uint32_t kHtpPowerModePerformance = 0x10;
inline constexpr uint32_t kHtpPowerModeSaver = 4;
inline constexpr uint32_t kHtpCornerSvs2 = 0x30, kHtpCornerSvs = 0x40, kHtpCornerNomPlus = 0x70, kHtpCornerTurbo = 0x80, kHtpCornerMax = 0xA0;
/// Of the matrix unit; 0 with pick_default.
inline constexpr uint32_t kHmxCornerSvs = 0x180, kHmxCornerNom = 0x200, kHmxCornerTurbo = 0x280, kHmxCornerMax = 0xFFFF;

struct HtpInfrastructure {
  uint32_t type;  // 0: performance infrastructure
  Status (*create_power_config_id)(uint32_t device_id, uint32_t core_id, uint32_t* id);
  Status (*destroy_power_config_id)(uint32_t id);
  Status (*set_power_config)(uint32_t id, const HtpPowerConfig** list);
  Status (*set_memory_config)(uint32_t device_id, uint32_t core_id, const void** list);
};

struct EventData {
  uint32_t type;  // ProfileEventType or a backend's own
  ProfileUnit unit;
  uint64_t value;
  const char* identifier;
};

struct ExtendedEventDataV1 {
  uint32_t type;
  ProfileUnit unit;
  union {
    Scalar value;
    struct {
      void* data;
      uint64_t size;
      const char* file_name;
    } object;  // of ProfileUnit::kObject
  };
  uint64_t timestamp;  // microseconds
  const char* identifier;
};
struct ExtendedEventData {
  int32_t version;  // 1
  ExtendedEventDataV1 v1;
};

// --------------------------------------------------------------------------------------------------------------- memory

/// Memory that the client shares with the library.
struct MemDescriptor {
  struct {
    uint32_t rank;
    uint32_t* dims;
    const char* config;
  } shape;
  DataType dtype;
  MemType type;
  union {
    struct {
      int32_t fd;
    } ion;
    const void* custom;
    struct {
      int32_t fd;
      void* data;  // where the client has mapped it
    } dma_buf;
  };
};

/// What `custom` of a MemDescriptor points at for the HTP: one buffer of `size` bytes that several tensors share.
inline constexpr uint32_t kHtpSharedBuffer = 1;
struct HtpMemDescriptor {
  uint32_t type;  // kHtpSharedBuffer
  uint64_t size;
  union {
    struct {
      int32_t fd;
      uint64_t offset;
    } shared_buffer;
    uint32_t qurt_address;
  };
};

// ---------------------------------------------------------------------------------------------------------- notifications

struct NotifyStatus {
  Status error;
};
using NotifyFn = void (*)(void* parameter, NotifyStatus status);

enum class ContextNotifyType : uint32_t { kGraph = 0, kContext = 1 };
using ContextNotifyFn = void (*)(ContextHandle, GraphHandle, const char* graph_name, ContextNotifyType, void* parameter, Status);

/// One binary of contextCreateFromBinaryListAsync.
struct ContextParams {
  int32_t version;  // 1
  const ContextConfig** configs;
  const void* binary;
  uint64_t size;
  ProfileHandle profile;
  ContextNotifyFn notify;
  void* parameter;
};

/// Begins every entry of graphPrepareExecutionEnvironment; what follows depends on the option.
struct ExecutionEnvironment {
  EnvironmentOption option;
};

// --------------------------------------------------------------------------------------------------------------- platform

/// What a device of the HTP says of itself: `extension` of a HardwareDevice.
struct HtpDeviceInfo {
  int32_t type;  // 0: a DSP on this chip
  uint64_t vtcm_mb;
  uint32_t soc;
  bool signed_pd, dlbc;
  uint32_t arch;
};
/// Unions of the published interface begin at offset 8.
struct alignas(8) CoreInfo {
  int32_t version;  // 1
  int32_t padding;
  uint32_t id, type;
  const void* extension;
};
struct alignas(8) HardwareDevice {
  int32_t version;  // 1
  int32_t padding;
  uint32_t id, type, core_count;
  const CoreInfo* cores;
  const HtpDeviceInfo* extension;
};
struct alignas(8) PlatformInfo {
  int32_t version;  // 1
  int32_t padding;
  uint32_t device_count;
  const HardwareDevice* devices;
};

// ------------------------------------------------------------------------------------------------------ function table

/// Positions in the backend function table. The table only grows; any entry may be NULL.
enum class Slot : uint32_t {
  kPropertyHasCapability = 0, kBackendCreate = 1, kBackendSetConfig = 2, kBackendGetApiVersion = 3, kBackendGetBuildId = 4,
  kBackendRegisterOpPackage = 5, kBackendGetSupportedOperations = 6, kBackendValidateOpConfig = 7, kBackendFree = 8,
  kContextCreate = 9, kContextSetConfig = 10, kContextGetBinarySize = 11, kContextGetBinary = 12, kContextCreateFromBinary = 13,
  kContextFree = 14, kGraphCreate = 15, kGraphCreateSubgraph = 16, kGraphSetConfig = 17, kGraphAddNode = 18, kGraphFinalize = 19,
  kGraphRetrieve = 20, kGraphExecute = 21, kGraphExecuteAsync = 22, kTensorCreateContextTensor = 23, kTensorCreateGraphTensor = 24,
  kLogCreate = 25, kLogSetLogLevel = 26, kLogFree = 27, kProfileCreate = 28, kProfileSetConfig = 29, kProfileGetEvents = 30,
  kProfileGetSubEvents = 31, kProfileGetEventData = 32, kProfileGetExtendedEventData = 33, kProfileFree = 34, kMemRegister = 35,
  kMemDeRegister = 36, kDeviceGetPlatformInfo = 37, kDeviceFreePlatformInfo = 38, kDeviceGetInfrastructure = 39, kDeviceCreate = 40,
  kDeviceSetConfig = 41, kDeviceGetInfo = 42, kDeviceFree = 43, kSignalCreate = 44, kSignalSetConfig = 45, kSignalTrigger = 46,
  kSignalFree = 47, kErrorGetMessage = 48, kErrorGetVerboseMessage = 49, kErrorFreeVerboseMessage = 50,
  kGraphPrepareExecutionEnvironment = 51, kGraphReleaseExecutionEnvironment = 52, kGraphGetProperty = 53, kContextValidateBinary = 54,
  kContextCreateFromBinaryWithSignal = 55, kContextCreateFromBinaryListAsync = 56, kTensorUpdateGraphTensors = 57,
  kTensorUpdateContextTensors = 58, kContextGetBinarySectionSize = 59, kContextGetBinarySection = 60, kContextApplyBinarySection = 61,
  kBackendGetProperty = 62, kContextGetProperty = 63, kContextGetIncrementalBinary = 64, kContextReleaseIncrementalBinary = 65,
  kContextFinalize = 66, kGlobalConfigSet = 67, kContextCreateFromBinaryWithCallback = 68,
};

/// Entries at core API 2.27, the oldest that lutra accepts; a client must not read beyond them without a look at the version.
inline constexpr size_t kSlotsAt27 = 68;
/// Entries that clients built against later releases copy; a library that wants to serve them exports at least so many (NULL-padded).
inline constexpr size_t kSlotsOfNewestClients = 75;

using LogCallback = void (*)(const char* format, uint32_t level, uint64_t timestamp, va_list arguments);

using PropertyHasCapabilityFn = Status (*)(uint32_t key);
using BackendCreateFn = Status (*)(LogHandle, const BackendConfig**, BackendHandle*);
using BackendSetConfigFn = Status (*)(BackendHandle, const BackendConfig**);
using BackendGetApiVersionFn = Status (*)(ApiVersion*);
using BackendGetBuildIdFn = Status (*)(const char**);
using BackendRegisterOpPackageFn = Status (*)(BackendHandle, const char* path, const char* provider, const char* target);
using BackendGetSupportedOperationsFn = Status (*)(BackendHandle, uint32_t* count, const OperationName**);
using BackendValidateOpConfigFn = Status (*)(BackendHandle, OpConfig);
using BackendFreeFn = Status (*)(BackendHandle);
using ContextCreateFn = Status (*)(BackendHandle, DeviceHandle, const ContextConfig**, ContextHandle*);
using ContextSetConfigFn = Status (*)(ContextHandle, const ContextConfig**);
using ContextGetBinarySizeFn = Status (*)(ContextHandle, uint64_t*);
using ContextGetBinaryFn = Status (*)(ContextHandle, void* buffer, uint64_t size, uint64_t* written);
using ContextCreateFromBinaryFn = Status (*)(BackendHandle, DeviceHandle, const ContextConfig**, const void*, uint64_t, ContextHandle*, ProfileHandle);
using ContextFreeFn = Status (*)(ContextHandle, ProfileHandle);
using ContextFinalizeFn = Status (*)(ContextHandle, ProfileHandle);
using ContextGetPropertyFn = Status (*)(ContextHandle, Property**);
using ContextCreateFromBinaryWithSignalFn = Status (*)(BackendHandle, DeviceHandle, const ContextConfig**, const void*, uint64_t, ContextHandle*, ProfileHandle, SignalHandle);
using ContextCreateFromBinaryListAsyncFn = Status (*)(BackendHandle, DeviceHandle, const ContextParams**, const ContextConfig**, SignalHandle);
using ContextCreateFromBinaryWithCallbackFn = Status (*)(BackendHandle, DeviceHandle, const ContextConfig**, const void* callback, const void*, uint64_t, ContextHandle*,
                                                         ProfileHandle, SignalHandle);
using GraphCreateFn = Status (*)(ContextHandle, const char* name, const GraphConfig**, GraphHandle*);
using GraphSetConfigFn = Status (*)(GraphHandle, const GraphConfig**);
using GraphAddNodeFn = Status (*)(GraphHandle, OpConfig);
using GraphFinalizeFn = Status (*)(GraphHandle, ProfileHandle, SignalHandle);
using GraphRetrieveFn = Status (*)(ContextHandle, const char* name, GraphHandle*);
using GraphExecuteFn = Status (*)(GraphHandle, const Tensor*, uint32_t, Tensor*, uint32_t, ProfileHandle, SignalHandle);
using GraphExecuteAsyncFn = Status (*)(GraphHandle, const Tensor*, uint32_t, Tensor*, uint32_t, ProfileHandle, SignalHandle, NotifyFn, void* parameter);
using GraphGetPropertyFn = Status (*)(GraphHandle, Property**);
using GraphExecutionEnvironmentFn = Status (*)(GraphHandle, const ExecutionEnvironment**, uint32_t count);  // prepare and release
using TensorCreateContextTensorFn = Status (*)(ContextHandle, Tensor*);
using TensorCreateGraphTensorFn = Status (*)(GraphHandle, Tensor*);
using LogCreateFn = Status (*)(LogCallback, uint32_t level, LogHandle*);
using LogSetLogLevelFn = Status (*)(LogHandle, uint32_t level);
using LogFreeFn = Status (*)(LogHandle);
using ProfileCreateFn = Status (*)(BackendHandle, uint32_t level, ProfileHandle*);
using ProfileSetConfigFn = Status (*)(ProfileHandle, const ProfileConfig**);
using ProfileGetEventsFn = Status (*)(ProfileHandle, const uint64_t** ids, uint32_t* count);
using ProfileGetSubEventsFn = Status (*)(uint64_t id, const uint64_t** ids, uint32_t* count);
using ProfileGetEventDataFn = Status (*)(uint64_t id, EventData*);
using ProfileGetExtendedEventDataFn = Status (*)(uint64_t id, ExtendedEventData*);
using ProfileFreeFn = Status (*)(ProfileHandle);
using MemRegisterFn = Status (*)(ContextHandle, const MemDescriptor*, uint32_t count, MemHandle*);
using MemDeRegisterFn = Status (*)(const MemHandle*, uint32_t count);
using SignalCreateFn = Status (*)(BackendHandle, const SignalConfig**, SignalHandle*);
using SignalSetConfigFn = Status (*)(SignalHandle, const SignalConfig**);
using SignalTriggerFn = Status (*)(SignalHandle);
using SignalFreeFn = Status (*)(SignalHandle);
using DeviceGetPlatformInfoFn = Status (*)(LogHandle, const PlatformInfo**);
using DeviceFreePlatformInfoFn = Status (*)(LogHandle, const PlatformInfo*);
using DeviceGetInfrastructureFn = Status (*)(const HtpInfrastructure**);
using DeviceCreateFn = Status (*)(LogHandle, const DeviceConfig**, DeviceHandle*);
using DeviceSetConfigFn = Status (*)(DeviceHandle, const DeviceConfig**);
using DeviceFreeFn = Status (*)(DeviceHandle);
using ErrorGetMessageFn = Status (*)(Status error, const char**);
using ErrorFreeVerboseMessageFn = Status (*)(const char*);
using BackendGetPropertyFn = Status (*)(BackendHandle, Property**);
using GlobalConfigSetFn = Status (*)(const AnyConfig**);
using ContextValidateBinaryFn = Status (*)(BackendHandle, DeviceHandle, const ContextConfig**, const void*, uint64_t);

/// A table entry before it is given its type.
using AnyFunction = void (*)();

/// One provider: what QnnInterface_getProviders lists. The table is held by value, `Slots` long.
template <size_t Slots>
struct InterfaceOf {
  BackendId backend_id;
  const char* provider_name;
  Version core;
  Version backend;
  AnyFunction table[Slots];
};
using QnnInterface = InterfaceOf<kSlotsAt27>;

inline constexpr const char* kGetProvidersSymbol = "QnnInterface_getProviders";
using GetProvidersFn = Status (*)(const QnnInterface*** providers, uint32_t* count);

// --------------------------------------------------------------------------------------------------------------- layout

static_assert(sizeof(void*) == 8, "the layouts are those of LP64 targets");
static_assert(sizeof(ScaleOffset) == 8 && sizeof(BwScaleOffset) == 12);
static_assert(sizeof(AxisScaleOffset) == 16 && offsetof(AxisScaleOffset, scale_offset) == 8);
static_assert(sizeof(BwAxisScaleOffset) == 32 && offsetof(BwAxisScaleOffset, scales) == 16 && offsetof(BwAxisScaleOffset, offsets) == 24);
static_assert(sizeof(BlockEncoding) == 16);
static_assert(sizeof(BlockwiseExpansion) == 40 && offsetof(BlockwiseExpansion, scale_offsets) == 8 &&
              offsetof(BlockwiseExpansion, blocks_per_axis) == 16 && offsetof(BlockwiseExpansion, block_scale_bitwidth) == 20 &&
              offsetof(BlockwiseExpansion, block_scale_storage) == 24 && offsetof(BlockwiseExpansion, block_scales) == 32);
static_assert(sizeof(QuantizeParams) == 40 && alignof(QuantizeParams) == 8 && offsetof(QuantizeParams, encoding) == 4 &&
              offsetof(QuantizeParams, scale_offset) == 8 && offsetof(QuantizeParams, axis) == 8);
static_assert(sizeof(ClientBuffer) == 16 && offsetof(ClientBuffer, size) == 8);
static_assert(sizeof(TensorV1) == 112 && offsetof(TensorV1, name) == 8 && offsetof(TensorV1, type) == 16 && offsetof(TensorV1, format) == 20 &&
              offsetof(TensorV1, dtype) == 24 && offsetof(TensorV1, quantize) == 32 && offsetof(TensorV1, rank) == 72 &&
              offsetof(TensorV1, dims) == 80 && offsetof(TensorV1, mem_type) == 88 && offsetof(TensorV1, client) == 96);
static_assert(sizeof(TensorV2) == 136 && offsetof(TensorV2, quantize) == 32 && offsetof(TensorV2, client) == 96 &&
              offsetof(TensorV2, is_dynamic_dims) == 112 && offsetof(TensorV2, sparse) == 120 && offsetof(TensorV2, is_produced) == 132);
static_assert(sizeof(Tensor) == 144 && offsetof(Tensor, v1) == 8 && offsetof(Tensor, v2) == 8);
static_assert(sizeof(Scalar) == 16 && offsetof(Scalar, f32) == 8);
static_assert(sizeof(Param) == 160 && offsetof(Param, name) == 8 && offsetof(Param, scalar) == 16 && offsetof(Param, tensor) == 16);
static_assert(sizeof(OpConfig) == 80 && offsetof(OpConfig, name) == 8 && offsetof(OpConfig, package) == 16 && offsetof(OpConfig, type) == 24 &&
              offsetof(OpConfig, param_count) == 32 && offsetof(OpConfig, params) == 40 && offsetof(OpConfig, input_count) == 48 &&
              offsetof(OpConfig, inputs) == 56 && offsetof(OpConfig, output_count) == 64 && offsetof(OpConfig, outputs) == 72);
static_assert(sizeof(OperationName) == 24);
static_assert(sizeof(BackendConfig) == 16 && sizeof(ContextConfig) == 16 && sizeof(GraphConfig) == 16 && sizeof(DeviceConfig) == 16);
static_assert(offsetof(ContextConfig, pointer) == 8);
static_assert(sizeof(HtpDeviceCustomConfig) == 24 && offsetof(HtpDeviceCustomConfig, soc) == 8 && offsetof(HtpDeviceCustomConfig, legacy_value) == 4);
static_assert(sizeof(HtpGraphCustomConfig) == 56 && offsetof(HtpGraphCustomConfig, optimization) == 8);
static_assert(sizeof(HtpContextCustomConfig) == 24 && offsetof(HtpContextCustomConfig, bool8) == 8);
static_assert(sizeof(CoreInfo) == 24 && sizeof(HardwareDevice) == 40 && sizeof(PlatformInfo) == 24);
static_assert(sizeof(HtpDeviceInfo) == 32 && offsetof(HtpDeviceInfo, vtcm_mb) == 8 && offsetof(HtpDeviceInfo, soc) == 16 && offsetof(HtpDeviceInfo, signed_pd) == 20 &&
              offsetof(HtpDeviceInfo, arch) == 24);
static_assert(sizeof(HtpDcvsV3) == 64 && sizeof(HtpPowerConfig) == 68 && offsetof(HtpPowerConfig, dcvs_v3) == 4);
static_assert(sizeof(HtpInfrastructure) == 40 && offsetof(HtpInfrastructure, create_power_config_id) == 8);
static_assert(sizeof(EventData) == 24 && offsetof(EventData, value) == 8 && offsetof(EventData, identifier) == 16);
static_assert(sizeof(ExtendedEventData) == 56 && offsetof(ExtendedEventData, v1) == 8 && offsetof(ExtendedEventDataV1, value) == 8 &&
              offsetof(ExtendedEventDataV1, timestamp) == 32 && offsetof(ExtendedEventDataV1, identifier) == 40);
static_assert(sizeof(MemDescriptor) == 48 && offsetof(MemDescriptor, dtype) == 24 && offsetof(MemDescriptor, type) == 28 && offsetof(MemDescriptor, custom) == 32);
static_assert(sizeof(HtpMemDescriptor) == 32 && offsetof(HtpMemDescriptor, size) == 8 && offsetof(HtpMemDescriptor, shared_buffer) == 16);
static_assert(sizeof(ContextParams) == 56 && offsetof(ContextParams, configs) == 8 && sizeof(AsyncQueueDepth) == 8);
static_assert(sizeof(QnnInterface) == 584 && offsetof(QnnInterface, provider_name) == 8 && offsetof(QnnInterface, core) == 16 &&
              offsetof(QnnInterface, backend) == 28 && offsetof(QnnInterface, table) == 40);

}  // namespace lutra::qnn::abi
