// Record layouts of the encoded plan (docs/architecture.md, "Plan"). lib/graph/plan-format.ts holds the same in TypeScript; a test compares the two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace lutra::plan {

inline constexpr uint32_t kMagic = 0x504C554C;  // "LULP"
inline constexpr uint32_t kVersion = 2;
inline constexpr uint32_t kNoIndex = 0xffffffffu;  // "no tensor", "no string"

enum class Section : uint32_t { kConfig, kStrings, kTensors, kSegments, kNodes, kSteps, kPrograms, kOperands, kAttrs };
inline constexpr uint32_t kSections = 9;
inline constexpr uint32_t kHeaderWords = 5;  // magic, version, size, section count, checksum; then {offset, count} per section
inline constexpr uint32_t kChecksumWord = 4;

inline constexpr uint32_t kConfigValues = 9;
inline constexpr uint32_t kTensorWords = 18;
inline constexpr uint32_t kSegmentWords = 8;
inline constexpr uint32_t kNodeWords = 8;
inline constexpr uint32_t kStepWords = 6;
inline constexpr uint32_t kProgramWords = 4;

/// Weights also have the codes of low-bit formats, 32 to 79 (kernels/lowbit/format.h), which are known by number only.
enum class DType : uint32_t { kF32 = 1, kF16 = 2, kU8 = 3, kS8 = 4, kU16 = 5, kS32 = 6, kU32 = 7, kQ4_0 = 16, kQ4_1 = 17, kQ8_0 = 18 };
enum class TensorKind : uint32_t { kActivation = 0, kInternal = 1, kWeight = 2 };
enum class RowsKind : uint32_t { kFixed = 0, kChunk = 1, kLogits = 2 };
enum class QuantKind : uint32_t { kNone = 0, kScaleOffset = 1, kAxis = 2 };
enum class ParamType : uint32_t { kF32 = 0, kU32 = 1, kBool = 2, kU32Tensor1 = 3, kU32Tensor = 4, kI32 = 5 };
inline constexpr uint32_t kMaxParamType = 5;

/// CPU steps in opcode order.
enum class StepOp : uint32_t {
  kSegment, kEmbed, kRmsNorm, kLinear, kRope, kKvAppend, kAttention, kSiluMul, kAdd, kConvert, kQuantize, kDequantize, kShadow, kSelectRows, kBiasAdd, kObserve, kPermute, kReluMul, kRotate,
  kStoredRows, kClipped
};
inline constexpr const char* kStepNames[] = {"segment", "embed", "rms_norm", "linear", "rope", "kv_append", "attention", "silu_mul",
                                             "add", "convert", "quantize", "dequantize", "shadow", "select_rows", "bias_add", "observe", "permute", "relu_mul", "rotate",
                                             "stored_rows", "clipped"};
inline constexpr uint32_t kStepOps = sizeof(kStepNames) / sizeof(kStepNames[0]);

/// Rows of the matrix of a rotate step at most.
inline constexpr uint32_t kMaxRotationMatrix = 256;

/// Bytes of one element; 0 for packed types.
constexpr size_t element_size(DType type) noexcept {
  switch (type) {
    case DType::kF32: case DType::kS32: case DType::kU32: return 4;
    case DType::kF16: case DType::kU16: return 2;
    case DType::kU8: case DType::kS8: return 1;
    case DType::kQ4_0: case DType::kQ4_1: case DType::kQ8_0: return 0;
  }
  return 0;
}

std::string dtype_name(DType type);

}  // namespace lutra::plan
