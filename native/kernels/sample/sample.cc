#include "kernels/sample/sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "base/error.h"

namespace lutra::kernels {
namespace {

/// splitmix64: a full-period generator whose every seed is good.
uint64_t next_random(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// Uniform in [0, 1) with 53 bits.
double next_uniform(uint64_t& state) { return static_cast<double>(next_random(state) >> 11) * 0x1.0p-53; }

/// The largest finite logit; the lowest id among equals.
uint32_t argmax(std::span<const float> logits) {
  size_t best = logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isfinite(logits[i]) && (best == logits.size() || logits[i] > logits[best])) best = i;
  }
  if (best == logits.size()) throw Error(ErrorCode::kInternal, "no logit is finite", "the model's weights or ranges are damaged; convert it again");
  return static_cast<uint32_t>(best);
}

}  // namespace

Sampler::Sampler(const SampleOptions& options) : options_(options), state_(options.seed) {
  const auto require = [](bool ok, const char* name, double value, const char* range) {
    if (!ok) throw Error(ErrorCode::kInvalidArgument, std::string(name) + " = " + std::to_string(value) + " is not " + range);
  };
  require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature", options.temperature, "at least 0");
  require(options.top_p > 0 && options.top_p <= 1, "topP", options.top_p, "above 0 and at most 1");
  require(options.min_p >= 0 && options.min_p <= 1, "minP", options.min_p, "between 0 and 1");
  require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty), "repetitionPenalty", options.repetition_penalty, "above 0");
}

uint32_t Sampler::sample(std::span<const float> logits, std::span<const uint32_t> recent) {
  std::span<const float> scores = logits;
  if (options_.repetition_penalty != 1.0f && !recent.empty()) {
    work_.assign(logits.begin(), logits.end());
    order_.assign(recent.begin(), recent.end());
    std::sort(order_.begin(), order_.end());
    order_.erase(std::unique(order_.begin(), order_.end()), order_.end());
    for (uint32_t token : order_) {
      if (token >= work_.size()) continue;
      float& score = work_[token];
      score = score > 0 ? score / options_.repetition_penalty : score * options_.repetition_penalty;
    }
    scores = work_;
  }
  const uint32_t best = argmax(scores);
  if (options_.temperature == 0 || options_.top_k == 1) return best;

  // Candidates, best first; equal scores in the order of their ids, so that the draw does not depend on the sort.
  order_.resize(scores.size());
  std::iota(order_.begin(), order_.end(), 0u);
  std::erase_if(order_, [&](uint32_t i) { return !std::isfinite(scores[i]); });
  const auto better = [&](uint32_t a, uint32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; };
  size_t count = order_.size();
  if (options_.top_k != 0) count = std::min<size_t>(count, options_.top_k);
  std::partial_sort(order_.begin(), order_.begin() + static_cast<ptrdiff_t>(count), order_.end(), better);

  // Weights relative to the best candidate; then the nucleus, then the floor of min-p.
  double total = 0;
  weights_.resize(count);
  for (size_t i = 0; i < count; ++i) total += weights_[i] = std::exp((static_cast<double>(scores[order_[i]]) - scores[best]) / options_.temperature);
  if (options_.top_p < 1.0f) {
    double mass = 0;
    size_t kept = 0;
    while (kept < count && (kept == 0 || mass < options_.top_p * total)) mass += weights_[kept++];
    count = kept;
  }
  while (count > 1 && weights_[count - 1] < options_.min_p) --count;

  const double kept_mass = std::accumulate(weights_.begin(), weights_.begin() + static_cast<ptrdiff_t>(count), 0.0);
  double point = next_uniform(state_) * kept_mass;
  for (size_t i = 0; i + 1 < count; ++i) {
    if ((point -= weights_[i]) < 0) return order_[i];
  }
  return order_[count - 1];
}

}  // namespace lutra::kernels
