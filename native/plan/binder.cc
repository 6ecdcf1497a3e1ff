#include "plan/binder.h"

#include <cmath>

#include "store/json_scanner.h"

namespace lutra::plan {
namespace {

store::TensorType stored_type(DType type) noexcept {
  switch (type) {
    case DType::kF32: return store::TensorType::kF32;
    case DType::kF16: return store::TensorType::kF16;
    case DType::kU8: return store::TensorType::kU8;
    case DType::kS8: return store::TensorType::kI8;
    case DType::kU16: return store::TensorType::kU16;
    case DType::kS32: return store::TensorType::kI32;
    case DType::kU32: return store::TensorType::kU32;
    case DType::kQ4_0: case DType::kQ4_1: case DType::kQ8_0: break;
  }
  return store::TensorType::kU8;
}

}  // namespace

RopeTable::RopeTable(uint32_t positions, uint32_t head_dim, double theta, const float* factors, uint32_t levels)
    : head_dim_(head_dim), levels_(levels), frequencies_(head_dim / 2), table_(AlignedBuffer::of<float>(static_cast<size_t>(positions) * head_dim)) {
  for (uint32_t i = 0; i < head_dim / 2; ++i) frequencies_[i] = std::pow(theta, -2.0 * i / head_dim) / (factors != nullptr ? factors[i] : 1.0f);
}

const float* RopeTable::rows(uint32_t position, uint32_t n) {
  float* table = table_.as<float>().data();
  const auto stored = [&](double value) { return static_cast<float>(levels_ == 0 ? value : std::nearbyint(value * levels_) / levels_); };
  for (; ready_ < position + n; ++ready_) {
    float* row = table + static_cast<size_t>(ready_) * head_dim_;
    for (uint32_t i = 0; i < head_dim_ / 2; ++i) {
      const double angle = ready_ * frequencies_[i];
      row[i] = stored(std::cos(angle));
      row[head_dim_ / 2 + i] = stored(std::sin(angle));
    }
  }
  return table + static_cast<size_t>(position) * head_dim_;
}

SegmentRunner& Binder::segments() const {
  if (segments_ == nullptr) throw Error(ErrorCode::kBadPlan, "plan: it has NPU segments but no NPU library was opened", "open the model with an NPU library or build the plan for the CPU");
  return *segments_;
}

const store::Tensor& stored_weight(const store::WeightStore& weights, const Tensor& tensor) {
  const store::Tensor& stored = weights.find(tensor.weight);
  const auto needs = [&](const std::string& what) {
    throw Error(ErrorCode::kBadFile, "weight " + store::quote(tensor.weight) + " is " + stored.description() + ", the plan needs " + what + " (" + dtype_name(tensor.dtype) + ")", "convert the model again");
  };
  // Kernels read numbers of up to four bytes where they lie.
  if (reinterpret_cast<uintptr_t>(stored.data.data()) % 4 != 0) {
    throw Error(ErrorCode::kBadFile, "the data of weight " + store::quote(tensor.weight) + " are not aligned to 4 bytes", "convert the model again; `lutra convert` aligns to 64 bytes");
  }
  if (element_size(tensor.dtype) == 0) {
    const size_t bytes = kernels::packed_size(static_cast<kernels::WeightType>(tensor.dtype), tensor.rows, tensor.cols);
    if (stored.type != store::TensorType::kU8 || stored.data.size() != bytes) needs("U8 [" + std::to_string(bytes) + "]");
    return stored;
  }
  const store::Tensor wanted{{}, stored_type(tensor.dtype), {tensor.dims.begin(), tensor.dims.begin() + tensor.rank}, {}, nullptr};
  if (stored.type != wanted.type || stored.shape != wanted.shape) needs(wanted.description());
  return stored;
}

std::span<const std::byte> Binder::weight(uint32_t t) const { return stored(t).data; }

kernels::PackedWeight Binder::packed(uint32_t t) const {
  const Tensor& tensor = this->tensor(t);
  return {static_cast<kernels::WeightType>(tensor.dtype), tensor.rows, tensor.cols, weight(t).data()};
}

std::shared_ptr<RopeTable> Binder::rope_table(uint32_t head_dim, double theta, uint32_t factors, uint32_t levels) {
  auto& table = rope_tables_[{head_dim, theta, factors, levels}];
  if (!table) table = std::make_shared<RopeTable>(plan().config.max_context, head_dim, theta, factors == kNoIndex ? nullptr : weight_f32(factors), levels);
  return table;
}

}  // namespace lutra::plan
