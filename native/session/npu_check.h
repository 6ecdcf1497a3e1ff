// Whether an NPU library computes what it should: segments of a chunk on the library and on the host NPU, from the same inputs.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "plan/plan.h"
#include "qnn/backend.h"
#include "store/weight_store.h"

namespace lutra::session {

/// What the comparisons came to.
struct NpuVerdict {
  bool right = true;
  size_t segments = 0;  // compared
  double error = 0;     // of the worst output: see NpuCheck::kBound; infinite for what is not a number
  std::string what;     // the worst output: "'l3.h' of segment 'seg3'"
};

/// Carries a chunk through the segments of a plan. The host NPU computes all of them; the library computes each kind of segment once (kinds: ops, types and shapes), on the inputs that
/// the host NPU's results lead to. So errors do not add up from segment to segment, whatever the model's precision, and an emulator need not compute every layer.
class NpuCheck {
 public:
  /// Σ (found − expected)² / Σ (expected² + (4 steps)²), steps being those of an output's encoding: two good libraries round differently, and what is a few steps large is all rounding.
  /// Good ones stay below a tenth of this (docs/faults.md); one that leaves an op out, mixes rows up or returns what was there before is far beyond it.
  static constexpr double kBound = 0.05;

  /// `pool` is lent to the host NPU.
  NpuCheck(const plan::Plan& plan, const store::WeightStore& weights, ThreadPool& pool);

  /// The library, on the segment's inputs.
  using Execute = std::function<void()>;
  /// Computes segment `index` into `outputs`. `library` writes there, too, before. One graph of the host NPU lives at a time. Throws as the library and the host NPU do.
  void run(size_t index, std::span<const std::span<const std::byte>> inputs, std::span<const std::span<std::byte>> outputs, const Execute& library);

  const NpuVerdict& verdict() const noexcept { return verdict_; }

 private:
  void compare(size_t index, std::span<const std::span<std::byte>> found, std::span<const std::vector<std::byte>> expected);

  const plan::Plan& plan_;
  const store::WeightStore& weights_;
  std::shared_ptr<qnn::Device> host_;
  std::set<std::string> kinds_;
  NpuVerdict verdict_;
};

}  // namespace lutra::session
