// Norms, element-wise steps, conversions, row selection and observation.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

constexpr size_t kGrain = 16384;  // elements: below this a piece of work is not worth a thread

/// A gain shorter than the rows norms each piece of its length: the heads of q and k.
class RmsNorm final : public StepRunner {
 public:
  RmsNorm(Binder& b, const Step& s)
      : ops_(b.ops()), pool_(b.pool()), x_tensor_(b.tensor(s.inputs[0])), x_(b.data<float>(s.inputs[0])), gain_(b.weight_f32(s.inputs[1])), y_(b.data<float>(s.outputs[0])), eps_(static_cast<float>(s.attrs[0])), length_(b.tensor(s.inputs[1]).elements()) {}

  void run(const Run& run) override {
    const size_t cols = length_;
    parallel_ranges(pool_, valid_rows(x_tensor_, run) * (x_tensor_.cols / cols), std::max<size_t>(1, kGrain / cols), [&](size_t begin, size_t end) {
      ops_.rms_norm(x_ + begin * cols, gain_, eps_, static_cast<uint32_t>(end - begin), static_cast<uint32_t>(cols), y_ + begin * cols);
    });
  }

 private:
  const kernels::OpKernels& ops_;
  ThreadPool& pool_;
  const Tensor& x_tensor_;
  const float *x_, *gain_;
  float* y_;
  float eps_;
  size_t length_;
};

/// y = f(a, b) element by element.
class Pair final : public StepRunner {
 public:
  using Function = void (*)(const float*, const float*, size_t, float*);
  Pair(Binder& b, const Step& s, Function function)
      : pool_(b.pool()), tensor_(b.tensor(s.outputs[0])), a_(b.data<float>(s.inputs[0])), b_(b.data<float>(s.inputs[1])), y_(b.data<float>(s.outputs[0])), function_(function) {}

  void run(const Run& run) override {
    parallel_ranges(pool_, static_cast<size_t>(valid_rows(tensor_, run)) * tensor_.cols, kGrain,
                    [&](size_t begin, size_t end) { function_(a_ + begin, b_ + begin, end - begin, y_ + begin); });
  }

 private:
  ThreadPool& pool_;
  const Tensor& tensor_;
  const float *a_, *b_;
  float* y_;
  Function function_;
};

class BiasAdd final : public StepRunner {
 public:
  BiasAdd(Binder& b, const Step& s) : ops_(b.ops()), tensor_(b.tensor(s.outputs[0])), x_(b.data<float>(s.inputs[0])), bias_(b.weight_f32(s.inputs[1])), y_(b.data<float>(s.outputs[0])) {}

  void run(const Run& run) override {
    for (size_t r = 0; r < valid_rows(tensor_, run); ++r) ops_.add(x_ + r * tensor_.cols, bias_, tensor_.cols, y_ + r * tensor_.cols);
  }

 private:
  const kernels::OpKernels& ops_;
  const Tensor& tensor_;
  const float *x_, *bias_;
  float* y_;
};

/// Conversion between any two element types through F32: convert, quantize and dequantize are the same loop with other ends.
class Recode final : public StepRunner {
 public:
  Recode(Binder& b, const Step& s)
      : ops_(b.ops()), pool_(b.pool()), from_(b.tensor(s.inputs[0])), to_(b.tensor(s.outputs[0])), x_(b.memory(s.inputs[0])), y_(b.memory(s.outputs[0])), in_(encoding_of(from_)), out_(encoding_of(to_)) {}

  void run(const Run& run) override {
    parallel_ranges(pool_, static_cast<size_t>(valid_rows(to_, run)) * to_.cols, kGrain, [&](size_t begin, size_t end) {
      alignas(64) float buffer[kBuffer];
      for (size_t i = begin; i < end; i += kBuffer) {
        const size_t n = std::min(kBuffer, end - i);
        store(load(i, n, buffer), i, n);
      }
    });
  }

 private:
  static constexpr size_t kBuffer = 1024;

  const float* load(size_t i, size_t n, float* buffer) const {
    switch (from_.dtype) {
      case DType::kF16: ops_.f16_to_f32(reinterpret_cast<const uint16_t*>(x_) + i, n, buffer); return buffer;
      case DType::kU16: ops_.dequantize_16(reinterpret_cast<const uint16_t*>(x_) + i, n, in_, buffer); return buffer;
      case DType::kU8: case DType::kS8: ops_.dequantize_8(reinterpret_cast<const uint8_t*>(x_) + i, n, in_, buffer); return buffer;
      default: return reinterpret_cast<const float*>(x_) + i;
    }
  }

  void store(const float* values, size_t i, size_t n) const {
    switch (to_.dtype) {
      case DType::kF16: ops_.f32_to_f16(values, n, reinterpret_cast<uint16_t*>(y_) + i); return;
      case DType::kU16: ops_.quantize_u16(values, n, out_, reinterpret_cast<uint16_t*>(y_) + i); return;
      case DType::kU8: case DType::kS8: ops_.quantize_u8(values, n, out_, reinterpret_cast<uint8_t*>(y_) + i); return;
      default: std::memcpy(reinterpret_cast<float*>(y_) + i, values, n * sizeof(float)); return;
    }
  }

  const kernels::OpKernels& ops_;
  ThreadPool& pool_;
  const Tensor &from_, &to_;
  std::byte *x_, *y_;
  kernels::Encoding in_, out_;
};

/// The rows whose logits are wanted: none, the last or all.
class SelectRows final : public StepRunner {
 public:
  SelectRows(Binder& b, const Step& s) : ops_(b.ops()), x_tensor_(b.tensor(s.inputs[0])), x_(b.memory(s.inputs[0])), y_(b.data<float>(s.outputs[0])) {}

  void run(const Run& run) override {
    const size_t cols = x_tensor_.cols, first = run.rows() - run.logit_rows, count = run.logit_rows * cols;
    if (x_tensor_.dtype == DType::kF16) {
      ops_.f16_to_f32(reinterpret_cast<const uint16_t*>(x_) + first * cols, count, y_);
    } else {
      std::memcpy(y_, reinterpret_cast<const float*>(x_) + first * cols, count * sizeof(float));
    }
  }

 private:
  const kernels::OpKernels& ops_;
  const Tensor& x_tensor_;
  const std::byte* x_;
  float* y_;
};

class Observe final : public StepRunner {
 public:
  Observe(Binder& b, const Step& s)
      : pool_(b.pool()), tensor_(b.tensor(s.inputs[0])), x_(b.data<float>(s.inputs[0])), observation_(b.observation(static_cast<uint32_t>(s.attrs[0]), tensor_.cols)) {
    if (observation_.columns() != tensor_.cols) throw Error(ErrorCode::kBadPlan, "site " + std::to_string(static_cast<uint32_t>(s.attrs[0])) + " observes rows of two lengths");
  }

  void run(const Run& run) override { observation_.add(x_, valid_rows(tensor_, run), pool_); }

 private:
  ThreadPool& pool_;
  const Tensor& tensor_;
  const float* x_;
  Observation& observation_;
};

/// y = 1 where x lies outside of an 8-bit range, 0 elsewhere.
class Clipped final : public StepRunner {
 public:
  Clipped(Binder& b, const Step& s) : pool_(b.pool()), tensor_(b.tensor(s.inputs[0])), x_(b.data<float>(s.inputs[0])), y_(b.data<float>(s.outputs[0])), scale_(static_cast<float>(s.attrs[0])) {
    const auto offset = static_cast<float>(s.attrs[1]);
    const bool is_signed = s.attrs[2] != 0;
    low_ = (is_signed ? -128.0f : 0.0f) + offset;
    high_ = (is_signed ? 127.0f : 255.0f) + offset;
  }

  void run(const Run& run) override {
    parallel_ranges(pool_, static_cast<size_t>(valid_rows(tensor_, run)) * tensor_.cols, kGrain, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i) {
        const float steps = std::nearbyint(x_[i] / scale_);
        y_[i] = steps > high_ || steps < low_ ? 1.0f : 0.0f;
      }
    });
  }

 private:
  ThreadPool& pool_;
  const Tensor& tensor_;
  const float* x_;
  float* y_;
  float scale_, low_, high_;
};

/// Columns in another order: y[r, c] = x[r, order[c]].
class Permute final : public StepRunner {
 public:
  Permute(Binder& b, const Step& s) : pool_(b.pool()), tensor_(b.tensor(s.outputs[0])), x_(b.data<float>(s.inputs[0])), y_(b.data<float>(s.outputs[0])), order_(tensor_.cols) {
    // A copy: what is checked here must not change in a mapped file afterwards.
    std::memcpy(order_.data(), b.weight(s.inputs[1]).data(), order_.size() * sizeof(uint32_t));
    const auto beyond = std::find_if(order_.begin(), order_.end(), [&](uint32_t column) { return column >= tensor_.cols; });
    if (beyond == order_.end()) return;
    throw Error(ErrorCode::kBadFile, "weight " + std::string(b.tensor(s.inputs[1]).weight) + " names column " + std::to_string(*beyond) + " of " + std::to_string(tensor_.cols), "convert the model again");
  }

  void run(const Run& run) override {
    const size_t cols = tensor_.cols;
    parallel_ranges(pool_, valid_rows(tensor_, run), std::max<size_t>(1, kGrain / cols), [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) {
        for (size_t c = 0; c < cols; ++c) y_[r * cols + c] = x_[r * cols + order_[c]];
      }
    });
  }

 private:
  ThreadPool& pool_;
  const Tensor& tensor_;
  const float* x_;
  float* y_;
  std::vector<uint32_t> order_;
};

}  // namespace

std::unique_ptr<StepRunner> bind_rms_norm(Binder& b, const Step& s) { return std::make_unique<RmsNorm>(b, s); }
std::unique_ptr<StepRunner> bind_silu_mul(Binder& b, const Step& s) { return std::make_unique<Pair>(b, s, b.ops().silu_mul); }
std::unique_ptr<StepRunner> bind_relu_mul(Binder& b, const Step& s) { return std::make_unique<Pair>(b, s, b.ops().relu_mul); }
std::unique_ptr<StepRunner> bind_add(Binder& b, const Step& s) { return std::make_unique<Pair>(b, s, b.ops().add); }
std::unique_ptr<StepRunner> bind_convert(Binder& b, const Step& s) { return std::make_unique<Recode>(b, s); }
std::unique_ptr<StepRunner> bind_quantize(Binder& b, const Step& s) { return std::make_unique<Recode>(b, s); }
std::unique_ptr<StepRunner> bind_dequantize(Binder& b, const Step& s) { return std::make_unique<Recode>(b, s); }
std::unique_ptr<StepRunner> bind_select_rows(Binder& b, const Step& s) { return std::make_unique<SelectRows>(b, s); }
std::unique_ptr<StepRunner> bind_bias_add(Binder& b, const Step& s) { return std::make_unique<BiasAdd>(b, s); }
std::unique_ptr<StepRunner> bind_observe(Binder& b, const Step& s) { return std::make_unique<Observe>(b, s); }
std::unique_ptr<StepRunner> bind_clipped(Binder& b, const Step& s) { return std::make_unique<Clipped>(b, s); }
std::unique_ptr<StepRunner> bind_permute(Binder& b, const Step& s) { return std::make_unique<Permute>(b, s); }

}  // namespace lutra::plan
