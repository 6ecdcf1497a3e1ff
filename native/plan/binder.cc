#include "plan/binder.h"

#include <cmath>

namespace lutra::plan {

RopeTable::RopeTable(uint32_t positions, uint32_t head_dim, double theta, const float* factors)
    : head_dim_(head_dim), frequencies_(head_dim / 2), table_(AlignedBuffer::of<float>(static_cast<size_t>(positions) * head_dim)) {
  for (uint32_t i = 0; i < head_dim / 2; ++i) frequencies_[i] = std::pow(theta, -2.0 * i / head_dim) / (factors != nullptr ? factors[i] : 1.0f);
}

const float* RopeTable::rows(uint32_t position, uint32_t n) {
  float* table = table_.as<float>().data();
  for (; ready_ < position + n; ++ready_) {
    float* row = table + static_cast<size_t>(ready_) * head_dim_;
    for (uint32_t i = 0; i < head_dim_ / 2; ++i) {
      const double angle = ready_ * frequencies_[i];
      row[i] = static_cast<float>(std::cos(angle));
      row[head_dim_ / 2 + i] = static_cast<float>(std::sin(angle));
    }
  }
  return table + static_cast<size_t>(position) * head_dim_;
}

SegmentRunner& Binder::segments() const {
  if (segments_ == nullptr) throw Error(ErrorCode::kBadPlan, "plan: it has NPU segments but no NPU library was opened", "open the model with an NPU library or build the plan for the CPU");
  return *segments_;
}

std::span<const std::byte> Binder::weight(uint32_t t) const {
  const Tensor& tensor = this->tensor(t);
  const std::span<const std::byte> data = weights_.find(tensor.weight).data;
  const size_t element = element_size(tensor.dtype);
  const size_t expected = element != 0 ? tensor.elements() * element : kernels::packed_size(static_cast<kernels::WeightType>(tensor.dtype), tensor.rows, tensor.cols);
  if (data.size() != expected) {
    throw Error(ErrorCode::kBadFile, "weight '" + tensor.weight + "' has " + std::to_string(data.size()) + " bytes, the plan needs " + std::to_string(expected) + " (" + dtype_name(tensor.dtype) + ")",
                "convert the model again");
  }
  return data;
}

kernels::PackedWeight Binder::packed(uint32_t t) const {
  const Tensor& tensor = this->tensor(t);
  return {static_cast<kernels::WeightType>(tensor.dtype), tensor.rows, tensor.cols, weight(t).data()};
}

std::shared_ptr<RopeTable> Binder::rope_table(uint32_t head_dim, double theta, uint32_t factors) {
  auto& table = rope_tables_[{head_dim, theta, factors}];
  if (!table) table = std::make_shared<RopeTable>(plan().config.max_context, head_dim, theta, factors == kNoIndex ? nullptr : weight_f32(factors));
  return table;
}

}  // namespace lutra::plan
