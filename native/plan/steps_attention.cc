// Rotary embedding, KV append and causal attention.
#include <atomic>

#include "plan/steps.h"

namespace lutra::plan {
namespace {

class Rope final : public StepRunner {
 public:
  Rope(Binder& b, const Step& s)
      : ops_(b.ops()), pool_(b.pool()), x_(b.data<float>(s.inputs[0])), y_(b.data<float>(s.outputs[0])), heads_(static_cast<uint32_t>(s.attrs[0])),
        head_dim_(static_cast<uint32_t>(s.attrs[1])), interleaved_(s.attrs[3] != 0), table_(b.rope_table(head_dim_, s.attrs[2], s.inputs.size() == 2 ? s.inputs[1] : kNoIndex, static_cast<uint32_t>(s.attrs[4]))) {}

  void run(const Run& run) override {
    const float* cos_sin = table_->rows(run.position, run.rows());
    const size_t cols = static_cast<size_t>(heads_) * head_dim_;
    parallel_ranges(pool_, run.rows(), 16, [&](size_t begin, size_t end) {
      ops_.rope(x_ + begin * cols, cos_sin + begin * head_dim_, static_cast<uint32_t>(end - begin), heads_, head_dim_, interleaved_, y_ + begin * cols);
    });
  }

 private:
  const kernels::OpKernels& ops_;
  ThreadPool& pool_;
  const float* x_;
  float* y_;
  uint32_t heads_, head_dim_;
  bool interleaved_;
  std::shared_ptr<RopeTable> table_;
};

class KvAppend final : public StepRunner {
 public:
  KvAppend(Binder& b, const Step& s) : cache_(b.cache()), k_(b.data<float>(s.inputs[0])), v_(b.data<float>(s.inputs[1])), cols_(b.tensor(s.inputs[0]).cols), layer_(static_cast<uint32_t>(s.attrs[0])) {}

  void run(const Run& run) override {
    const size_t count = static_cast<size_t>(run.rows()) * cols_;
    cache_.append(layer_, run.position, {k_, count}, {v_, count});
  }

 private:
  kv::KvCache& cache_;
  const float *k_, *v_;
  uint32_t cols_, layer_;
};

/// Causal attention over the cache. Prefill cuts (KV head × block of query rows) into units; decode cuts KV heads.
class Attention final : public StepRunner {
 public:
  static constexpr uint32_t kBlockRows = 32;

  Attention(Binder& b, const Step& s)
      : ops_(b.ops()), pool_(b.pool()), cache_(b.cache()), q_(b.data<float>(s.inputs[0])), y_(b.data<float>(s.outputs[0])), layer_(static_cast<uint32_t>(s.attrs[0])),
        heads_(static_cast<uint32_t>(s.attrs[1])), kv_heads_(static_cast<uint32_t>(s.attrs[2])), head_dim_(static_cast<uint32_t>(s.attrs[3])), scale_(static_cast<float>(s.attrs[4])),
        scratch_(b.scratch_buffer()) {
    const uint32_t context = b.plan().config.max_context;
    const uint32_t group = heads_ / kv_heads_;
    scratch_floats_ = (std::max(kernels::attend_scratch(group, context), kernels::attend_block_scratch(head_dim_, group, kBlockRows, context)) + 15) / 16 * 16;
    b.need_scratch(sizeof(float) * scratch_floats_ * pool_.threads());
  }

  Where where() const override { return Where::kAttention; }

  void run(const Run& run) override {
    const uint32_t n = run.rows();
    const bool blocks = run.kernel_rows(n) > 1 && cache_.type() != kv::Type::kF32;
    const uint32_t row_units = blocks ? (n + kBlockRows - 1) / kBlockRows : n;
    const uint32_t units = row_units * kv_heads_;
    // Later rows see more positions: take them first, so that the last unit to finish is a short one.
    std::atomic<uint32_t> next{0};
    pool_.run(std::min(pool_.threads(), units), [&](uint32_t worker) {
      float* scratch = reinterpret_cast<float*>(const_cast<std::byte*>(scratch_.data())) + worker * scratch_floats_;
      for (uint32_t u; (u = next.fetch_add(1, std::memory_order_relaxed)) < units;) {
        const uint32_t row_unit = row_units - 1 - u / kv_heads_, kv_head = u % kv_heads_;
        if (blocks) {
          attend_block(run, row_unit * kBlockRows, std::min(kBlockRows, n - row_unit * kBlockRows), kv_head, scratch);
        } else {
          attend_row(run, row_unit, kv_head, scratch);
        }
      }
    });
  }

 private:
  void attend_block(const Run& run, uint32_t row, uint32_t rows, uint32_t kv_head, float* scratch) const {
    const uint32_t group = heads_ / kv_heads_;
    const size_t stride = static_cast<size_t>(heads_) * head_dim_, at = row * stride + static_cast<size_t>(kv_head) * group * head_dim_;
    const auto attend = [&]<class T>(auto kernel, const kernels::CachedHead<T>& head) {
      kernel(q_ + at, stride, head, head_dim_, group, rows, run.position + row + 1, scale_, scratch, y_ + at, stride);
    };
    if (cache_.type() == kv::Type::kI8) {
      attend(ops_.attend_block_i8, cache_.head<int8_t>(layer_, kv_head));
    } else {
      attend(ops_.attend_block_f16, cache_.head<uint16_t>(layer_, kv_head));
    }
  }

  void attend_row(const Run& run, uint32_t row, uint32_t kv_head, float* scratch) const {
    const uint32_t group = heads_ / kv_heads_, length = run.position + row + 1;
    const size_t at = (static_cast<size_t>(row) * heads_ + kv_head * group) * head_dim_;
    const auto attend = [&]<class T>(auto kernel, const kernels::CachedHead<T>& head) { kernel(q_ + at, head, head_dim_, group, length, scale_, scratch, y_ + at); };
    switch (cache_.type()) {
      case kv::Type::kF16: attend(ops_.attend_f16, cache_.head<uint16_t>(layer_, kv_head)); break;
      case kv::Type::kF32: attend(ops_.attend_f32, cache_.head<float>(layer_, kv_head)); break;
      case kv::Type::kI8: attend(ops_.attend_i8, cache_.head<int8_t>(layer_, kv_head)); break;
    }
  }

  const kernels::OpKernels& ops_;
  ThreadPool& pool_;
  kv::KvCache& cache_;
  const float* q_;
  float* y_;
  uint32_t layer_, heads_, kv_heads_, head_dim_;
  float scale_;
  const AlignedBuffer& scratch_;
  size_t scratch_floats_;
};

}  // namespace

std::unique_ptr<StepRunner> bind_rope(Binder& b, const Step& s) { return std::make_unique<Rope>(b, s); }
std::unique_ptr<StepRunner> bind_kv_append(Binder& b, const Step& s) { return std::make_unique<KvAppend>(b, s); }
std::unique_ptr<StepRunner> bind_attention(Binder& b, const Step& s) { return std::make_unique<Attention>(b, s); }

}  // namespace lutra::plan
