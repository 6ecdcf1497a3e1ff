// Tensors as the host NPU keeps them: a description that owns what it points at, and the data of STATIC ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/aligned.h"
#include "hostnpu/failure.h"
#include "hostnpu/runner.h"
#include "kernels/gemm_i8/gemm.h"
#include "kernels/npu_ops/npu_ops.h"

namespace lutra::hostnpu {

/// Bytes of an element, 0 for types whose elements share bytes or that have no data.
size_t data_type_size(abi::DataType type) noexcept;
/// "U8", "F16", …
const char* data_type_name(abi::DataType type) noexcept;
/// The kernels' name of a type, if they compute on it.
std::optional<kernels::Element> element_of(abi::DataType type) noexcept;

struct Quantization {
  enum class Kind : uint32_t { kNone, kPerTensor, kAxis, kOther };
  Kind kind = Kind::kNone;
  int32_t axis = 0;
  std::vector<kernels::Affine> values;  // one, or one per index of the axis

  bool operator==(const Quantization& other) const noexcept;
};

/// The data of a STATIC tensor: as it was given, or packed for the matrix kernels, or both while one becomes the other.
class StaticData {
 public:
  struct Packed {
    kernels::GemmLayout layout;
    bool transposed;  // packed from [in, out]
    uint32_t outputs, depth;
    AlignedBuffer data;
  };

  StaticData() = default;
  explicit StaticData(std::span<const std::byte> bytes);

  std::span<const std::byte> raw() const noexcept { return raw_.bytes(); }
  bool has_raw() const noexcept { return has_raw_; }
  void drop_raw() noexcept;
  /// The weight in that layout, packed now if it has not been (in parallel); `flipped`: of codes that are shifted by 128 first, which is a matter of the tensor's
  /// type. Throws Failure when the raw data is gone.
  const std::byte* packed(kernels::GemmLayout layout, bool transposed, uint32_t outputs, uint32_t depth, bool flipped, Runner& runner);
  const std::vector<Packed>& all_packed() const noexcept { return packed_; }
  /// Takes a packed weight from a context binary.
  void adopt(Packed packed) { packed_.push_back(std::move(packed)); }

 private:
  AlignedBuffer raw_;
  bool has_raw_ = false;
  std::vector<Packed> packed_;
};

struct TensorInfo {
  uint32_t id = 0;
  std::string name;
  abi::TensorType type = abi::TensorType::kNative;
  abi::DataType dtype = abi::DataType::kUndefined;
  Quantization quantization;
  std::vector<uint32_t> dims;
  std::shared_ptr<StaticData> data;  // STATIC tensors of a graph or context; empty while a node is only validated

  uint64_t elements() const noexcept;
  size_t bytes() const noexcept { return elements() * data_type_size(dtype); }
  uint32_t last_dim() const noexcept { return dims.back(); }
  bool is_input() const noexcept { return type == abi::TensorType::kAppWrite; }
  bool is_output() const noexcept { return type == abi::TensorType::kAppRead; }
  bool is_static() const noexcept { return type == abi::TensorType::kStatic; }
  /// Scale and offset of a per-tensor quantised one, {1, 0} otherwise.
  kernels::Affine affine() const noexcept { return quantization.kind == Quantization::Kind::kPerTensor ? quantization.values[0] : kernels::Affine{}; }
  /// "x: U8 [128, 576]" for the log.
  std::string describe() const;
};

/// Reads a description, not its data. Throws Failure (tensor codes) for what cannot be one.
TensorInfo parse_tensor(const abi::Tensor& tensor);

/// What parse_tensor demands of shape, type and encoding; also for descriptions that come from a context binary.
void check_tensor(const TensorInfo& info);

/// The data of a STATIC description. Throws Failure when it is missing or has the wrong size.
std::span<const std::byte> static_bytes(const abi::Tensor& tensor, const TensorInfo& info);

}  // namespace lutra::hostnpu
