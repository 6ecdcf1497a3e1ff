// The rotation of the residual stream: a fixed orthogonal matrix, diagonal · (Hadamard ⊗ small matrix), applied in O(columns · log columns).
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

constexpr size_t kGrain = 8192;  // elements: below this a piece of work is not worth a thread

/// y = (x ∘ diagonal) · (H ⊗ M), or back: y = (x · (H ⊗ M)ᵀ) ∘ diagonal. H: normalised Hadamard matrix of the columns divided by those of M.
class Rotate final : public StepRunner {
 public:
  Rotate(Binder& b, const Step& s)
      : pool_(b.pool()), tensor_(b.tensor(s.outputs[0])), x_(b.data<float>(s.inputs[0])), diagonal_(b.weight_f32(s.inputs[1])), y_(b.data<float>(s.outputs[0])), size_(b.tensor(s.inputs[2]).rows), inverse_(s.attrs[0] != 0), matrix_(size_ * size_) {
    const float* matrix = b.weight_f32(s.inputs[2]);
    const float norm = 1.0f / std::sqrt(static_cast<float>(tensor_.cols / size_));
    for (size_t i = 0; i < size_; ++i) {
      for (size_t j = 0; j < size_; ++j) matrix_[i * size_ + j] = norm * (inverse_ ? matrix[j * size_ + i] : matrix[i * size_ + j]);
    }
  }

  void run(const Run& run) override {
    const size_t cols = tensor_.cols;
    parallel_ranges(pool_, valid_rows(tensor_, run), std::max<size_t>(1, kGrain / cols), [&](size_t begin, size_t end) {
      for (size_t r = begin; r < end; ++r) row(x_ + r * cols, y_ + r * cols);
    });
  }

 private:
  void row(const float* x, float* y) const {
    const size_t cols = tensor_.cols;
    if (inverse_) {
      std::copy_n(x, cols, y);
    } else {
      for (size_t i = 0; i < cols; ++i) y[i] = x[i] * diagonal_[i];
    }
    for (size_t run = size_; run < cols; run *= 2) {
      for (size_t at = 0; at < cols; at += 2 * run) butterfly(y + at, y + at + run, run);
    }
    for (size_t at = 0; at < cols; at += size_) multiply(y + at);
    if (!inverse_) return;
    for (size_t i = 0; i < cols; ++i) y[i] *= diagonal_[i];
  }

  static void butterfly(float* __restrict a, float* __restrict b, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const float sum = a[i] + b[i], difference = a[i] - b[i];
      a[i] = sum;
      b[i] = difference;
    }
  }

  /// piece ← piece · M
  void multiply(float* piece) const {
    std::array<float, kMaxRotationMatrix> sums{};
    for (size_t i = 0; i < size_; ++i) {
      const float* row = matrix_.data() + i * size_;
      for (size_t j = 0; j < size_; ++j) sums[j] += piece[i] * row[j];
    }
    std::copy_n(sums.data(), size_, piece);
  }

  ThreadPool& pool_;
  const Tensor& tensor_;
  const float *x_, *diagonal_;
  float* y_;
  size_t size_;
  bool inverse_;
  std::vector<float> matrix_;  // with the norm of H; transposed on the way back
};

}  // namespace

std::unique_ptr<StepRunner> bind_rotate(Binder& b, const Step& s) { return std::make_unique<Rotate>(b, s); }

}  // namespace lutra::plan
