// What a step sees while it is bound: memory of its tensors, weights, kernels, shared scratch. One factory per step op (steps.h).
#pragma once

#include <functional>

#include "base/error.h"
#include "kernels/linear/linear.h"
#include "kernels/ops/ops.h"
#include "plan/executor.h"

namespace lutra::plan {

/// A table of rotary cosines and sines, rows made when a position is first needed.
class RopeTable {
 public:
  /// factors: head_dim/2 divisors of the frequencies or nullptr. levels: cosines and sines are rounded to multiples of 1/levels; 0: they are not.
  RopeTable(uint32_t positions, uint32_t head_dim, double theta, const float* factors, uint32_t levels);
  /// Rows [position, position + n), each head_dim/2 cosines then head_dim/2 sines.
  const float* rows(uint32_t position, uint32_t n);

 private:
  uint32_t head_dim_, levels_;
  uint32_t ready_ = 0;
  std::vector<double> frequencies_;
  AlignedBuffer table_;
};

/// The stored form of a weight of the plan, checked: type and shape must be the plan's, and packed types have the bytes that their packing needs.
/// Throws Error(kNotFound, kBadFile) that names the tensor.
const store::Tensor& stored_weight(const store::WeightStore& weights, const Tensor& tensor);

class Binder {
 public:
  Binder(Executor& executor, const store::WeightStore& weights, kv::KvCache& cache, ThreadPool& pool, SegmentRunner* segments, const ExecutorOptions& options)
      : executor_(executor), weights_(weights), cache_(cache), pool_(pool), segments_(segments), options_(options) {}

  const Plan& plan() const { return executor_.plan_; }
  const Tensor& tensor(uint32_t t) const { return plan().tensors[t]; }
  kv::KvCache& cache() { return cache_; }
  ThreadPool& pool() { return pool_; }
  SegmentRunner& segments() const;
  const kernels::OpKernels& ops() const { return kernels::op_kernel(options_.isa); }
  Isa isa() const { return options_.isa; }
  const kernels::LinearKernel& linear() const { return kernels::linear_kernel(options_.isa); }
  const kernels::ShadowKernel& shadow() const { return kernels::shadow_kernel(options_.isa); }
  ShadowResidency shadow_residency() const { return options_.shadow_residency; }
  void count_shadow_memory(const ShadowMemory& memory) {
    executor_.shadow_memory_.weights += memory.weights;
    executor_.shadow_memory_.pinned += memory.pinned;
  }

  /// Memory of an activation, typed by the caller.
  std::byte* memory(uint32_t t) const { return executor_.arena_.data() + executor_.memory_.offsets[t]; }
  template <class T>
  T* data(uint32_t t) const { return reinterpret_cast<T*>(memory(t)); }

  const store::WeightStore& weights() const { return weights_; }
  /// See stored_weight.
  const store::Tensor& stored(uint32_t t) const { return stored_weight(weights_, tensor(t)); }
  /// Bytes of a weight; see stored_weight.
  std::span<const std::byte> weight(uint32_t t) const;
  const float* weight_f32(uint32_t t) const { return reinterpret_cast<const float*>(weight(t).data()); }
  kernels::PackedWeight packed(uint32_t t) const;

  /// Asks for scratch that steps share one after the other; the address is valid from the end of binding on, through scratch().
  void need_scratch(size_t bytes) { scratch_bytes_ = std::max(scratch_bytes_, bytes); }
  size_t scratch_bytes() const { return scratch_bytes_; }
  const AlignedBuffer& scratch_buffer() const { return executor_.scratch_; }

  std::shared_ptr<RopeTable> rope_table(uint32_t head_dim, double theta, uint32_t factors, uint32_t levels);
  /// Of a site whose tensors have `columns` columns.
  Observation& observation(uint32_t site, size_t columns) const { return executor_.observations_.try_emplace(site, columns).first->second; }

 private:
  Executor& executor_;
  const store::WeightStore& weights_;
  kv::KvCache& cache_;
  ThreadPool& pool_;
  SegmentRunner* segments_;
  const ExecutorOptions& options_;
  size_t scratch_bytes_ = 0;
  std::map<std::tuple<uint32_t, double, uint32_t, uint32_t>, std::shared_ptr<RopeTable>> rope_tables_;
};

/// Rows of `t` that are valid in this run.
inline uint32_t valid_rows(const Tensor& t, const Run& run) {
  switch (t.rows_kind) {
    case RowsKind::kFixed: return t.rows;
    case RowsKind::kChunk: return run.rows();
    case RowsKind::kLogits: return run.logit_rows;
  }
  return 0;
}

/// Runs body(begin, end) over [0, count) on the pool in pieces of at least `grain`; one piece runs inline.
template <class Body>
void parallel_ranges(ThreadPool& pool, size_t count, size_t grain, const Body& body) {
  const size_t pieces = std::min<size_t>(pool.threads() == 1 ? 1 : pool.threads() * 2, (count + grain - 1) / grain);
  if (pieces <= 1) {
    if (count > 0) body(size_t{0}, count);
    return;
  }
  pool.run(static_cast<uint32_t>(pieces), [&](uint32_t i) { body(count * i / pieces, count * (i + 1) / pieces); });
}

}  // namespace lutra::plan
