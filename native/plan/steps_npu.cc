// The steps around the NPU: run a segment, repair what an 8-bit linear clipped.
#include <chrono>
#include <cstring>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

class SegmentStep final : public StepRunner {
 public:
  SegmentStep(Binder& b, const Step& s) : segments_(b.segments()), index_(static_cast<uint32_t>(s.attrs[0])) {
    std::vector<std::byte*> inputs, outputs;
    for (uint32_t t : s.inputs) {
      const Tensor& tensor = b.tensor(t);
      inputs.push_back(b.memory(t));
      if (tensor.rows_kind == RowsKind::kChunk) padded_.push_back({b.memory(t), tensor.cols * element_size(tensor.dtype), tensor.rows});
    }
    for (uint32_t t : s.outputs) outputs.push_back(b.memory(t));
    segments_.bind(index_, inputs, outputs);
  }

  void run(const Run& run) override {
    // The graph is one chunk long: rows past the prompt's end are computed and thrown away. They are zeroed so that a run never depends on an earlier one.
    for (const Padded& p : padded_) std::memset(p.data + run.rows() * p.row_bytes, 0, (p.rows - run.rows()) * p.row_bytes);
    if (run.stats == nullptr) return segments_.execute(index_);
    // Only the call of the library counts as the NPU's: what surrounds it is overhead and must show as such.
    const auto begin = std::chrono::steady_clock::now();
    segments_.execute(index_);
    run.stats->npu_ns += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count());
    ++run.stats->graph_calls;
  }

  Where where() const override { return Where::kNpu; }

 private:
  struct Padded { std::byte* data; size_t row_bytes, rows; };
  SegmentRunner& segments_;
  uint32_t index_;
  std::vector<Padded> padded_;
};

class Shadow final : public StepRunner {
 public:
  Shadow(Binder& b, const Step& s)
      : ops_(b.ops()), kernel_(b.shadow()), pool_(b.pool()), x_tensor_(b.tensor(s.inputs[0])), y_tensor_(b.tensor(s.outputs[0])), x_(b.memory(s.inputs[0])), y_(b.memory(s.outputs[0])),
        scratch_(b.scratch_buffer()) {
    const Tensor& w = b.tensor(s.inputs[1]);
    weight_ = {reinterpret_cast<const int8_t*>(b.weight(s.inputs[1]).data()), b.weight_f32(w.axis_scales), w.dims[2], w.dims[3]};
    const bool has_base = s.attrs[0] != 0, quantized = s.attrs[1] != 0;
    if (has_base) {
      base_ = b.memory(s.inputs[2]);
      base_half_ = b.tensor(s.inputs[2]).dtype == DType::kF16;
    }
    if (quantized) {
      const uint32_t t = s.inputs[2u + has_base];
      yq_ = b.data<uint8_t>(t);
      y_encoding_ = encoding_of(b.tensor(t));
    }
    const bool is_signed = s.attrs[5] != 0;
    x_encoding_ = {static_cast<float>(s.attrs[2]), static_cast<int32_t>(s.attrs[3]), is_signed ? -128 : 0, is_signed ? 127 : 255};
    // Per task: x and y in F32, base in F32, and the kernel's own in + out.
    scratch_floats_ = (2 * (static_cast<size_t>(weight_.in) + weight_.out) + weight_.out + 15) / 16 * 16;
    b.need_scratch(sizeof(float) * scratch_floats_ * tasks(b.plan().config.chunk));
    stats_.resize(tasks(b.plan().config.chunk));
  }

  void run(const Run& run) override {
    const uint32_t n = valid_rows(x_tensor_, run), count = tasks(n);
    pool_.run(count, [&](uint32_t i) {
      stats_[i] = {};
      float* scratch = reinterpret_cast<float*>(const_cast<std::byte*>(scratch_.data())) + i * scratch_floats_;
      for (uint32_t r = n * i / count; r < n * (i + 1) / count; ++r) run_row(r, scratch, stats_[i]);
    });
    if (run.stats == nullptr) return;
    for (uint32_t i = 0; i < count; ++i) {
      run.stats->shadow.repaired_inputs += stats_[i].repaired_inputs;
      run.stats->shadow.repaired_outputs += stats_[i].repaired_outputs;
    }
  }

  Where where() const override { return Where::kShadow; }

 private:
  uint32_t tasks(uint32_t rows) const { return std::min(rows, pool_.threads() == 1 ? 1 : pool_.threads() * 2); }

  /// Row r of a F32 or F16 tensor as F32; converts into `buffer` when needed.
  const float* row_f32(const std::byte* data, bool half, uint32_t cols, uint32_t r, float* buffer) const {
    if (!half) return reinterpret_cast<const float*>(data) + static_cast<size_t>(r) * cols;
    ops_.f16_to_f32(reinterpret_cast<const uint16_t*>(data) + static_cast<size_t>(r) * cols, cols, buffer);
    return buffer;
  }

  void run_row(uint32_t r, float* scratch, kernels::ShadowStats& stats) const {
    float *x_row = scratch, *y_row = x_row + weight_.in, *base_row = y_row + weight_.out, *own = base_row + weight_.out;
    const float* x = row_f32(x_, x_tensor_.dtype == DType::kF16, weight_.in, r, x_row);
    const float* base = base_ == nullptr ? nullptr : row_f32(base_, base_half_, weight_.out, r, base_row);
    const size_t at = static_cast<size_t>(r) * weight_.out;
    const bool half = y_tensor_.dtype == DType::kF16;
    float* y = half ? y_row : reinterpret_cast<float*>(y_) + at;
    kernel_.run_row(weight_, x, x_encoding_, base, yq_ == nullptr ? nullptr : yq_ + at, y_encoding_, own, y, stats);
    if (half) ops_.f32_to_f16(y, weight_.out, reinterpret_cast<uint16_t*>(y_) + at);
  }

  const kernels::OpKernels& ops_;
  const kernels::ShadowKernel& kernel_;
  ThreadPool& pool_;
  const Tensor &x_tensor_, &y_tensor_;
  const std::byte* x_;
  std::byte* y_;
  const std::byte* base_ = nullptr;
  bool base_half_ = false;
  const uint8_t* yq_ = nullptr;
  kernels::ShadowWeight weight_;
  kernels::Encoding x_encoding_, y_encoding_;
  const AlignedBuffer& scratch_;
  size_t scratch_floats_ = 0;
  std::vector<kernels::ShadowStats> stats_;
};

}  // namespace

std::unique_ptr<StepRunner> bind_segment(Binder& b, const Step& s) { return std::make_unique<SegmentStep>(b, s); }
std::unique_ptr<StepRunner> bind_shadow(Binder& b, const Step& s) { return std::make_unique<Shadow>(b, s); }

}  // namespace lutra::plan
