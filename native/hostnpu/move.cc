#include "hostnpu/move.h"

#include <algorithm>
#include <utility>

#include "hostnpu/box.h"
#include "hostnpu/elements.h"

namespace lutra::hostnpu {
namespace {

constexpr size_t kTaskBytes = 16384;

class MoveStage final : public Stage {
 public:
  MoveStage(Slot from, Slot to, size_t size, const Move& move, Box box)
      : box_(std::move(box)), size_(size), from_offset_(move.from_offset), to_offset_(move.to_offset), from_(from), to_(to) {}

  void set_conversion(const kernels::NpuOpKernels& kernel, kernels::Element type, kernels::Affine x, kernels::Affine y) noexcept {
    kernel_ = &kernel;
    type_ = type;
    x_ = x;
    y_ = y;
  }

  void run(Memory memory, uint32_t begin, uint32_t end) const override {
    const auto size = static_cast<int64_t>(size_);
    for (uint32_t row = begin; row < end; ++row) {
      const auto at = box_.row(row);
      const std::byte* from = memory[from_] + (from_offset_ + at[0]) * size;
      std::byte* to = memory[to_] + (to_offset_ + at[1]) * size;
      if (kernel_ == nullptr) {
        copy_strided(from, box_.step(0), to, box_.step(1), box_.columns(), size_);
      } else {
        convert_row(from, to);
      }
    }
  }

 private:
  void convert_row(const std::byte* from, std::byte* to) const {
    alignas(64) std::byte x[kBlock * 4], y[kBlock * 4];
    for (size_t done = 0; done < box_.columns(); done += kBlock) {
      const size_t n = std::min<size_t>(kBlock, box_.columns() - done);
      const auto first = static_cast<int64_t>(done * size_);
      copy_strided(from + first * box_.step(0), box_.step(0), x, 1, n, size_);
      kernel_->convert({type_, x_, x}, {type_, y_, y}, n);
      copy_strided(y, 1, to + first * box_.step(1), box_.step(1), n, size_);
    }
  }

  Box box_;
  size_t size_;
  int64_t from_offset_, to_offset_;
  Slot from_, to_;
  const kernels::NpuOpKernels* kernel_ = nullptr;
  kernels::Element type_ = kernels::Element::kU8;
  kernels::Affine x_, y_;
};

struct Planned {
  std::unique_ptr<MoveStage> stage;
  StagePlan work;
};

Planned prepare(Slot from, Slot to, size_t size, const Move& move) {
  Box box(move.dims, {move.from_strides, move.to_strides}, true);
  Planned out;
  out.work.items = box.rows();
  out.work.grain = static_cast<uint32_t>(std::max<size_t>(1, kTaskBytes / (box.columns() * size)));
  out.work.shared = {from};
  out.work.writes = {to};
  out.stage = std::make_unique<MoveStage>(from, to, size, move, std::move(box));
  return out;
}

}  // namespace

void plan_move(Planner& planner, Slot from, Slot to, size_t size, const Move& move) {
  Planned planned = prepare(from, to, size, move);
  planned.work.stage = std::move(planned.stage);
  planner.add(std::move(planned.work));
}

void plan_move(Planner& planner, const TensorInfo& from, const TensorInfo& to, const Move& move) {
  Planned planned = prepare(planner.slot(from), planner.slot(to), data_type_size(to.dtype), move);
  const bool converts = !(from.quantization == to.quantization) && from.quantization.kind == Quantization::Kind::kPerTensor && to.quantization.kind == Quantization::Kind::kPerTensor;
  if (const auto type = element_of(to.dtype); type && kernels::is_quantized(*type) && converts) planned.stage->set_conversion(planner.ops(), *type, from.affine(), to.affine());
  planned.work.stage = std::move(planned.stage);
  planner.add(std::move(planned.work));
}

Move transposition(std::span<const uint32_t> dims, std::span<const uint32_t> order) {
  const std::vector<int64_t> strides = dense_strides(dims);
  Move move;
  for (const uint32_t from : order) {
    move.dims.push_back(dims[from]);
    move.from_strides.push_back(strides[from]);
  }
  move.to_strides = dense_strides(move.dims);
  return move;
}

}  // namespace lutra::hostnpu
