// The step that repairs what an 8-bit linear clipped.
#include <algorithm>
#include <cstring>

#include "plan/steps.h"
#include "store/json_scanner.h"

namespace lutra::plan {
namespace {

/// The rows of W that a repair multiplies with: mapped, and as much of them in memory as the engine's residency says. A channel's row is the same bytes wherever it is read.
class ShadowRows {
 public:
  ShadowRows(Binder& b, const Step& s) : weights_(b.weights()), stored_(b.stored(s.inputs[1])), stays_(b.shadow_residency() == ShadowResidency::kAll) {
    const Tensor& w = b.tensor(s.inputs[1]);
    weight_ = {reinterpret_cast<const int8_t*>(stored_.data.data()), b.weight_f32(w.axis_scales), w.dims[2], w.dims[3]};
    if (b.shadow_residency() == ShadowResidency::kHot && s.attrs[6] != 0) pin(b, s.inputs.back());
    b.count_shadow_memory({stored_.data.size(), hot_.size()});
    give_back();
  }
  ShadowRows(const ShadowRows&) = delete;
  ShadowRows& operator=(const ShadowRows&) = delete;

  const kernels::ShadowWeight& weight() const { return weight_; }

  /// What was read of the file leaves this process. It comes from the page cache, or from storage, when it is wanted again.
  void give_back() const {
    if (!stays_) weights_.release(stored_);
  }

 private:
  /// Copies the rows of the hot channels, so that nothing but swapping takes them out of memory.
  void pin(Binder& b, uint32_t list) {
    const auto channels = b.stored(list).as<uint32_t>(store::TensorType::kU32);
    places_.assign(weight_.in, kernels::ShadowWeight::kNotHot);
    hot_ = AlignedBuffer(channels.size() * weight_.out);
    auto* rows = hot_.as<int8_t>().data();
    for (uint32_t i = 0; i < channels.size(); ++i) {
      const uint32_t k = channels[i];
      if (k >= weight_.in || places_[k] != kernels::ShadowWeight::kNotHot) {
        throw Error(ErrorCode::kBadFile, "weight " + store::quote(b.tensor(list).weight) + " names channel " + std::to_string(k) + (k >= weight_.in ? " of " + std::to_string(weight_.in) : " twice"),
                    "convert the model again");
      }
      std::memcpy(rows + static_cast<size_t>(i) * weight_.out, weight_.row(k), weight_.out);
      places_[k] = i;
    }
    weight_.hot = rows;
    weight_.hot_place = places_.data();
  }

  const store::WeightStore& weights_;
  const store::Tensor& stored_;
  bool stays_;
  kernels::ShadowWeight weight_;
  AlignedBuffer hot_;
  std::vector<uint32_t> places_;
};

class Shadow final : public StepRunner {
 public:
  Shadow(Binder& b, const Step& s)
      : ops_(b.ops()), kernel_(b.shadow()), pool_(b.pool()), x_tensor_(b.tensor(s.inputs[0])), y_tensor_(b.tensor(s.outputs[0])), x_(b.memory(s.inputs[0])), y_(b.memory(s.outputs[0])),
        scratch_(b.scratch_buffer()), rows_(b, s), weight_(rows_.weight()) {
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
    kernels::ShadowStats total;
    for (uint32_t i = 0; i < count; ++i) total += stats_[i];
    if (total.repaired_inputs > total.hot_inputs || total.repaired_outputs > 0) rows_.give_back();
    if (run.stats != nullptr) run.stats->shadow += total;
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
  kernels::Encoding x_encoding_, y_encoding_;
  const AlignedBuffer& scratch_;
  ShadowRows rows_;
  const kernels::ShadowWeight& weight_;
  size_t scratch_floats_ = 0;
  std::vector<kernels::ShadowStats> stats_;
};

}  // namespace

std::unique_ptr<StepRunner> bind_shadow(Binder& b, const Step& s) { return std::make_unique<Shadow>(b, s); }

}  // namespace lutra::plan
