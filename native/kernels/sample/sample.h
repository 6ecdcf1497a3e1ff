// Sampling of the next token from logits: repetition penalty → temperature → top-k → top-p → min-p → draw. Deterministic for a seed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lutra::kernels {

struct SampleOptions {
  float temperature = 0.0f;         // 0: greedy
  uint32_t top_k = 0;               // 0: off
  float top_p = 1.0f;               // 1: off
  float min_p = 0.0f;               // 0: off
  float repetition_penalty = 1.0f;  // 1: off; over `recent`
  uint64_t seed = 0;
};

class Sampler {
 public:
  /// Throws Error(kInvalidArgument) for an option out of range.
  explicit Sampler(const SampleOptions& options);
  /// logits [vocab] F32, unchanged; `recent`: tokens that the penalty looks at. Ties go to the lower id. NaN logits count as −inf. Throws Error(kInternal) when no logit is finite.
  uint32_t sample(std::span<const float> logits, std::span<const uint32_t> recent);

 private:
  SampleOptions options_;
  uint64_t state_;
  std::vector<float> work_;
  std::vector<uint32_t> order_;
  std::vector<double> weights_;
};

}  // namespace lutra::kernels
