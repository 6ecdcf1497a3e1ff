// Embedding and linear steps.
#include <cstring>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

class Embed final : public StepRunner {
 public:
  Embed(Binder& b, const Step& s)
      : pool_(b.pool()), ops_(b.ops()), weight_(b.packed(s.inputs[0])), half_(b.tensor(s.outputs[0]).dtype == DType::kF16), y_(b.memory(s.outputs[0])), scratch_(b.scratch_buffer()) {
    b.need_scratch(sizeof(float) * weight_.cols);
  }

  void run(const Run& run) override {
    for (uint32_t r = 0; r < run.rows(); ++r) {
      if (half_) {
        float* row = reinterpret_cast<float*>(const_cast<std::byte*>(scratch_.data()));
        kernels::dequantize_row(weight_, run.tokens[r], row);
        ops_.f32_to_f16(row, weight_.cols, reinterpret_cast<uint16_t*>(y_) + static_cast<size_t>(r) * weight_.cols);
      } else {
        kernels::dequantize_row(weight_, run.tokens[r], reinterpret_cast<float*>(y_) + static_cast<size_t>(r) * weight_.cols);
      }
    }
  }

 private:
  ThreadPool& pool_;
  const kernels::OpKernels& ops_;
  kernels::PackedWeight weight_;
  bool half_;
  std::byte* y_;
  const AlignedBuffer& scratch_;
};

/// y_i = x · W_iᵀ for weights that share x: quantised once, tiles of all weights cut into one list of tasks.
class Linear final : public StepRunner {
 public:
  Linear(Binder& b, const Step& s)
      : pool_(b.pool()), kernel_(b.linear()), x_tensor_(b.tensor(s.inputs[0])), x_(b.data<float>(s.inputs[0])), scratch_(b.scratch_buffer()) {
    uint32_t tiles = 0;
    for (size_t i = 0; i < s.outputs.size(); ++i) {
      parts_.push_back({b.packed(s.inputs[i + 1]), b.data<float>(s.outputs[i])});
      tiles += kernels::tile_count(parts_.back().weight.rows);
    }
    const DType type = b.tensor(s.inputs[1]).dtype;
    quantized_ = s.attrs[0] == 0 && element_size(type) == 0;
    if (quantized_) b.need_scratch(kernels::quantized_rows_size(b.plan().config.chunk, x_tensor_.cols));
    // Four tasks a thread: contiguous streams, and a descheduled thread delays a step by a quarter of its share.
    const uint32_t wanted = pool_.threads() == 1 ? 1 : pool_.threads() * 4;
    const uint32_t grain = std::max(1u, (tiles + wanted - 1) / wanted);
    for (uint32_t p = 0; p < parts_.size(); ++p) {
      const uint32_t count = kernels::tile_count(parts_[p].weight.rows);
      for (uint32_t t = 0; t < count; t += grain) tasks_.push_back({p, t, std::min(count, t + grain)});
    }
  }

  void run(const Run& run) override {
    const uint32_t n = valid_rows(x_tensor_, run);
    if (n == 0) return;
    std::byte* xq = const_cast<std::byte*>(scratch_.data());
    if (quantized_) kernel_.quantize_rows(x_, x_tensor_.cols, n, x_tensor_.cols, xq);
    pool_.run(static_cast<uint32_t>(tasks_.size()), [&](uint32_t i) {
      const Task& task = tasks_[i];
      const Part& part = parts_[task.part];
      if (quantized_) {
        kernel_.run_quantized(part.weight, xq, n, task.begin, task.end, part.y, part.weight.rows);
      } else {
        kernel_.run_float(part.weight, x_, x_tensor_.cols, n, task.begin, task.end, part.y, part.weight.rows);
      }
    });
  }

 private:
  struct Part { kernels::PackedWeight weight; float* y; };
  struct Task { uint32_t part, begin, end; };
  ThreadPool& pool_;
  const kernels::LinearKernel& kernel_;
  const Tensor& x_tensor_;
  const float* x_;
  const AlignedBuffer& scratch_;
  std::vector<Part> parts_;
  std::vector<Task> tasks_;
  bool quantized_ = false;
};

}  // namespace

std::unique_ptr<StepRunner> bind_embed(Binder& b, const Step& s) { return std::make_unique<Embed>(b, s); }
std::unique_ptr<StepRunner> bind_linear(Binder& b, const Step& s) { return std::make_unique<Linear>(b, s); }

}  // namespace lutra::plan
