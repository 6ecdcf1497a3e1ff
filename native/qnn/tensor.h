// Tensors as a caller describes them, and in the form that the library reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qnn/abi.h"

namespace lutra::qnn {

/// How integers stand for reals: real = (q + offset) · scale, so that offset is minus the zero point.
struct Encoding {
  enum class Kind { kNone, kScaleOffset, kAxis, kBwScaleOffset, kBwAxis, kBlockwise };
  Kind kind = Kind::kNone;
  float scale = 0;             // kScaleOffset, kBwScaleOffset
  int32_t offset = 0;          // kScaleOffset, kBwScaleOffset
  int32_t axis = 0;            // kAxis, kBwAxis, kBlockwise: the dimension that has one scale per index
  std::vector<float> scales;   // as many as that dimension is long
  std::vector<int32_t> offsets = {};  // kAxis, kBwAxis, kBlockwise: as many as scales, or none: 0
  uint32_t bits = 0;           // kBw…: significant bits of the values, one per byte; kBlockwise: of the block scales
  uint32_t blocks = 0;         // kBlockwise: blocks per index of the axis
  std::vector<uint8_t> block_scales = {};  // kBlockwise: [scales][blocks], each at least 1; a value's scale is scale · block scale

  static Encoding none() { return {}; }
  static Encoding scale_offset(float scale, int32_t offset) { return {Kind::kScaleOffset, scale, offset, 0, {}}; }
  static Encoding per_axis(int32_t axis, std::span<const float> scales) {
    return {Kind::kAxis, 0, 0, axis, std::vector<float>(scales.begin(), scales.end())};
  }
};

struct TensorDesc {
  std::string name;  // unique in its graph
  abi::DataType dtype = abi::DataType::kUndefined;
  std::vector<uint32_t> dims;  // row major, all above 0
  Encoding encoding;
  /// Values of a constant, row major and packed; empty for every other tensor. Not copied: must live until the graph is finalized.
  std::span<const std::byte> data;
};

/// Bytes of one element. Throws Error(kUnsupported) for a type that has no whole number of bytes or is unknown.
size_t element_size(abi::DataType dtype);
/// "U8", "S8", "U16", "S16", "S32", "F16", "F32", "UINT32", "INT32", "BOOL8", …; "0x…" for an unknown number.
std::string dtype_name(abi::DataType dtype);
/// "x: U8 [128, 576] scale 0.0313 offset -128".
std::string describe(const abi::Tensor& tensor);

/// A tensor with all memory that its QNN form points to. Not movable, because that form points into it.
class TensorRecord {
 public:
  /// Throws Error(kInvalidArgument) when the description contradicts itself: no name, no or zero dimensions, as many scales as the
  /// axis is not long, data whose size is not that of the shape, data of a tensor that is not constant.
  TensorRecord(const TensorDesc& desc, abi::TensorType type);
  TensorRecord(const TensorRecord&) = delete;
  TensorRecord& operator=(const TensorRecord&) = delete;

  const std::string& name() const noexcept { return name_; }
  size_t bytes() const noexcept { return bytes_; }
  abi::Tensor& qnn() noexcept { return tensor_; }
  const abi::Tensor& qnn() const noexcept { return tensor_; }

 private:
  void set_encoding(const Encoding& encoding);
  void check_axis(const Encoding& encoding) const;

  std::string name_;
  std::vector<uint32_t> dims_;
  // What the encoding points to; which of them depends on its kind.
  std::vector<abi::ScaleOffset> scales_;
  std::vector<float> axis_scales_;
  std::vector<int32_t> axis_offsets_;
  std::vector<uint8_t> block_scales_;
  abi::BlockwiseExpansion blockwise_{};
  size_t bytes_ = 0;
  abi::Tensor tensor_{};
};
using TensorList = std::vector<std::unique_ptr<TensorRecord>>;

}  // namespace lutra::qnn
