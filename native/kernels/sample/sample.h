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
  struct Candidate {
    float score;
    uint32_t id;
    double weight;  // e^((score − best) / temperature)
  };
  static bool better(const Candidate& a, const Candidate& b) noexcept { return a.score != b.score ? a.score > b.score : a.id < b.id; }
  std::span<const float> penalised(std::span<const float> logits, std::span<const uint32_t> recent);
  void collect(std::span<const float> scores, float best);
  void keep_nucleus();

  SampleOptions options_;
  uint64_t state_;
  std::vector<float> work_;
  std::vector<uint32_t> tokens_;
  std::vector<Candidate> candidates_;
};

}  // namespace lutra::kernels
