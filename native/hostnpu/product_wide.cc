// Products with 16-bit weights. Their sums need up to 53 bits: doubles over F32 codes, which is exact.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "hostnpu/coefficients.h"

namespace lutra::hostnpu {
namespace {

using kernels::kGemmPanel;

class WideStage final : public Stage {
 public:
  WideStage(const Product& product, std::shared_ptr<const Coefficients> coefficients, Slot x, Slot packed, size_t packed_bytes, const TensorInfo& y, Slot to)
      : product_(product), coefficients_(std::move(coefficients)), packed_bytes_(packed_bytes), offset_(y.affine().offset), x_(x), packed_(packed), to_(to) {}

  /// An item is a panel of a batch.
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint32_t panels = kernels::gemm_panels(product_.outputs);
    for (uint32_t item = begin; item < end; ++item) {
      const Product::Batch& batch = product_.batches[item / panels];
      const auto* x = reinterpret_cast<const float*>(memory[x_]) + size_t{batch.x} * product_.depth;
      const uint32_t panel = item % panels;
      const auto* w = reinterpret_cast<const float*>(memory[packed_] + batch.weight * packed_bytes_) + size_t{panel} * product_.depth * kGemmPanel;
      for (uint32_t row = 0; row < product_.rows; ++row) {
        double sums[kGemmPanel] = {};
        accumulate(x + size_t{row} * product_.depth, w, sums);
        store(memory[to_] + (batch.y + row * product_.y_stride + panel * kGemmPanel) * 2, batch.weight, panel, sums);
      }
    }
  }

 private:
  void accumulate(const float* x, const float* w, double* sums) const {
    for (uint32_t k = 0; k < product_.depth; ++k, w += kGemmPanel) {
      const double factor = x[k];
      for (uint32_t o = 0; o < kGemmPanel; ++o) sums[o] += factor * static_cast<double>(w[o]);
    }
  }
  void store(std::byte* y, uint32_t weight, uint32_t panel, const double* sums) const {
    const uint32_t first = panel * kGemmPanel, columns = std::min(product_.outputs - first, kGemmPanel);
    const double lo = lowest_code(product_.type) + offset_, hi = highest_code(product_.type) + offset_;
    for (uint32_t o = 0; o < columns; ++o) {
      double multiplier;
      std::memcpy(&multiplier, coefficients_->multiplier(weight) + size_t{first + o} * 8, 8);
      const double value = std::clamp((sums[o] + coefficients_->bias(weight, first + o)) * multiplier, lo, hi);
      const auto code = static_cast<uint16_t>(static_cast<int32_t>(std::nearbyint(value)) - offset_);
      std::memcpy(y + size_t{o} * 2, &code, 2);
    }
  }

  Product product_;
  std::shared_ptr<const Coefficients> coefficients_;
  size_t packed_bytes_;
  int32_t offset_;
  Slot x_, packed_, to_;
};

}  // namespace

void plan_wide_product(const Product& product, std::shared_ptr<const Coefficients> coefficients, Slot prepared, Slot packed, size_t packed_bytes, const TensorInfo& y, Planner& planner) {
  StagePlan work;
  const Slot to = planner.slot(y);
  work.items = kernels::gemm_panels(product.outputs) * static_cast<uint32_t>(product.batches.size());
  work.grain = 1;
  work.shared = {prepared, packed};
  work.writes = {to};
  work.stage = std::make_unique<WideStage>(product, std::move(coefficients), prepared, packed, packed_bytes, y, to);
  planner.add(std::move(work));
}

}  // namespace lutra::hostnpu
