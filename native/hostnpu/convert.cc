#include "hostnpu/convert.h"

#include <algorithm>

namespace lutra::hostnpu {
namespace {

constexpr uint64_t kItem = 4096;  // elements

class ConvertStage final : public Stage {
 public:
  ConvertStage(const kernels::NpuOpKernels& kernel, Slot from, ElementCoding x, Slot to, ElementCoding y, uint64_t elements)
      : kernel_(kernel), x_(x), y_(y), elements_(elements), from_(from), to_(to) {}
  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const uint64_t first = begin * kItem, last = std::min(end * kItem, elements_);
    kernel_.convert({x_.type, x_.affine, memory[from_] + first * element_size(x_.type)}, {y_.type, y_.affine, memory[to_] + first * element_size(y_.type)}, last - first);
  }

 private:
  const kernels::NpuOpKernels& kernel_;
  ElementCoding x_, y_;
  uint64_t elements_;
  Slot from_, to_;
};

}  // namespace

void plan_convert(Planner& planner, Slot from, ElementCoding x, Slot to, ElementCoding y, uint64_t elements) {
  StagePlan work;
  work.stage = std::make_unique<ConvertStage>(planner.ops(), from, x, to, y, elements);
  work.items = static_cast<uint32_t>((elements + kItem - 1) / kItem);
  work.grain = 4;
  work.shared = {from};
  work.writes = {to};
  planner.add(std::move(work));
}

}  // namespace lutra::hostnpu
