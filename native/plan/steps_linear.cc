// Embedding and linear steps.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "kernels/lowbit/lowbit.h"
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

/// Rows of a table that stand for what earlier steps would compute: row p for position p.
class StoredRows final : public StepRunner {
 public:
  StoredRows(Binder& b, const Step& s) : table_(b.weight_f32(s.inputs[0])), cols_(b.tensor(s.outputs[0]).cols), y_(b.data<float>(s.outputs[0])) {}

  void run(const Run& run) override { std::copy_n(table_ + run.position * cols_, run.rows() * cols_, y_); }

 private:
  const float* table_;
  size_t cols_;
  float* y_;
};

/// y_i = x · W_iᵀ for weights that share x: prepared once for each arithmetic that they need, tiles of all weights cut into one list of tasks.
/// With a silu_mul step behind, of the outputs of two packed weights, a task multiplies the same tiles of both and then their outputs. x is not read after it was prepared, so the result may
/// lie where x was.
class Linear final : public StepRunner {
 public:
  Linear(Binder& b, const Step& s, const Step* silu_mul)
      : pool_(b.pool()), kernel_(b.linear()), ops_(b.ops()), isa_(b.isa()), x_tensor_(b.tensor(s.inputs[0])), x_(b.data<float>(s.inputs[0])), scratch_(b.scratch_buffer()),
        gated_(silu_mul == nullptr ? nullptr : b.data<float>(silu_mul->outputs[0])) {
    const bool packed = multiplies_packed(b, s);
    uint32_t tiles = 0;
    for (size_t i = 0; i < s.outputs.size(); ++i) {
      const kernels::PackedWeight weight = b.packed(s.inputs[i + 1]);
      const auto format = packed ? kernels::low_bit_format(weight.type) : std::nullopt;
      parts_.push_back({weight, b.data<float>(s.outputs[i]), format, !packed ? Form::kFloat : Form::kCodes});
      tiles += kernels::tile_count(weight.rows);
    }
    if (packed) reserve(b);
    const uint32_t lists = gated_ == nullptr ? static_cast<uint32_t>(parts_.size()) : 1;
    const uint32_t wanted = pool_.threads() == 1 ? 1 : pool_.threads() * ThreadPool::kTasksPerThread;
    const uint32_t grain = std::max(1u, (tiles * lists / static_cast<uint32_t>(parts_.size()) + wanted - 1) / wanted);
    for (uint32_t p = 0; p < lists; ++p) {
      const uint32_t count = kernels::tile_count(parts_[p].weight.rows);
      for (uint32_t t = 0; t < count; t += grain) tasks_.push_back({p, t, std::min(count, t + grain)});
    }
  }

  /// Whether x is prepared, as packed weights want it.
  static bool multiplies_packed(const Binder& b, const Step& s) { return s.attrs[0] == 0 && element_size(b.tensor(s.inputs[1]).dtype) == 0; }

  void run(const Run& run) override {
    const uint32_t n = valid_rows(x_tensor_, run);
    if (n == 0) return;
    const uint32_t picked_by = run.kernel_rows(n);
    prepare(n, picked_by);
    pool_.run(static_cast<uint32_t>(tasks_.size()), [&](uint32_t i) {
      const Task& task = tasks_[i];
      if (gated_ == nullptr) return multiply(parts_[task.part], task, n, picked_by);
      multiply(parts_[0], task, n, picked_by);
      multiply(parts_[1], task, n, picked_by);
      const uint32_t rows = parts_[0].weight.rows, begin = task.begin * kernels::kTileRows, end = std::min(rows, task.end * kernels::kTileRows);
      for (size_t at = begin, r = 0; r < n; ++r, at += rows) ops_.silu_mul(parts_[0].y + at, parts_[1].y + at, end - begin, gated_ + at);
    });
  }

 private:
  /// What x is prepared as; the order of the scratch memory.
  enum class Form : uint8_t { kCodes, kTables, kSpikeCodes, kFloat };
  struct Part {
    kernels::PackedWeight weight;
    float* y;
    std::optional<kernels::LowBitFormat> format;
    Form form;  // of a low-bit weight: of the kernel that the number of rows picks
  };
  struct Task { uint32_t part, begin, end; };

  static Form form_of(const kernels::LowBitKernel& kernel) { return kernel.family == kernels::Family::kLut ? Form::kTables : Form::kSpikeCodes; }

  /// Room for every form that some number of rows may need.
  void reserve(Binder& b) {
    const uint32_t most = b.plan().config.chunk, cols = x_tensor_.cols;
    size_t bytes[3] = {};
    for (const Part& part : parts_) {
      if (!part.format) {
        bytes[0] = kernels::quantized_rows_size(most, cols);
        continue;
      }
      for (uint32_t n = 1; n <= most; ++n) {
        const kernels::LowBitKernel& kernel = kernels::low_bit_kernel(*part.format, isa_, n);
        size_t& room = bytes[static_cast<size_t>(form_of(kernel))];
        room = std::max(room, kernel.prepared_size(n == 1 ? std::min(most, kMostSingleRows) : n, cols));
      }
    }
    for (size_t i = 0; i < 3; ++i) offsets_[i + 1] = offsets_[i] + (bytes[i] + 63) / 64 * 64;
    b.need_scratch(offsets_[3]);
  }

  void multiply(const Part& part, const Task& task, uint32_t n, uint32_t picked_by) const {
    const uint32_t rows = part.weight.rows;
    if (part.form == Form::kFloat) {
      kernel_.run_float(part.weight, x_, x_tensor_.cols, n, task.begin, task.end, part.y, rows);
    } else if (part.form == Form::kCodes) {
      kernel_.run_quantized(part.weight, at(part.form), n, task.begin, task.end, part.y, rows);
    } else {
      kernels::low_bit_kernel(*part.format, isa_, picked_by).run(part.weight, at(part.form), n, task.begin, task.end, part.y, rows);
    }
  }

  std::byte* at(Form form) const { return const_cast<std::byte*>(scratch_.data()) + offsets_[static_cast<size_t>(form)]; }

  void prepare(uint32_t n, uint32_t picked_by) {
    bool done[3] = {};
    for (Part& part : parts_) {
      if (part.form == Form::kFloat) continue;
      const kernels::LowBitKernel* kernel = part.format ? &kernels::low_bit_kernel(*part.format, isa_, picked_by) : nullptr;
      if (kernel != nullptr) part.form = form_of(*kernel);
      if (std::exchange(done[static_cast<size_t>(part.form)], true)) continue;
      if (kernel == nullptr) kernel_.quantize_rows(x_, x_tensor_.cols, n, x_tensor_.cols, at(part.form));
      else kernel->prepare(x_, x_tensor_.cols, n, x_tensor_.cols, at(part.form));
    }
  }

  ThreadPool& pool_;
  const kernels::LinearKernel& kernel_;
  const kernels::OpKernels& ops_;
  Isa isa_;
  const Tensor& x_tensor_;
  const float* x_;
  const AlignedBuffer& scratch_;
  float* gated_;  // silu(first) · second
  std::vector<Part> parts_;
  std::vector<Task> tasks_;
  size_t offsets_[4] = {};
};

}  // namespace

std::unique_ptr<StepRunner> bind_embed(Binder& b, const Step& s) { return std::make_unique<Embed>(b, s); }
std::unique_ptr<StepRunner> bind_stored_rows(Binder& b, const Step& s) { return std::make_unique<StoredRows>(b, s); }
std::unique_ptr<StepRunner> bind_linear(Binder& b, const Step& s) { return std::make_unique<Linear>(b, s, nullptr); }

std::unique_ptr<StepRunner> bind_gated(Binder& b, const Step& s, const Step& next) {
  const bool gated = s.op == StepOp::kLinear && next.op == StepOp::kSiluMul && s.outputs.size() == 2 && std::ranges::equal(s.outputs, next.inputs) && Linear::multiplies_packed(b, s);
  return gated ? std::make_unique<Linear>(b, s, &next) : nullptr;
}

}  // namespace lutra::plan
