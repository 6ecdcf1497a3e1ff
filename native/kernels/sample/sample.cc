#include "kernels/sample/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace lutra::kernels {
namespace {

// In units of the exponent: a vocabulary of such candidates together weighs less than one step of next_uniform.
constexpr float kNegligible = -60.0f;

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
  // One comparison a logit that nearly always fails: NaN and −inf never win it, +inf is turned away after it.
  float best = -std::numeric_limits<float>::infinity();
  size_t at = logits.size();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best && logits[i] <= std::numeric_limits<float>::max()) {
      best = logits[i];
      at = i;
    }
  }
  if (at == logits.size()) throw Error(ErrorCode::kInternal, "no logit is finite", "the model's weights or ranges are damaged; convert it again");
  return static_cast<uint32_t>(at);
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

std::span<const float> Sampler::penalised(std::span<const float> logits, std::span<const uint32_t> recent) {
  if (options_.repetition_penalty == 1.0f || recent.empty()) return logits;
  work_.assign(logits.begin(), logits.end());
  tokens_.assign(recent.begin(), recent.end());
  std::sort(tokens_.begin(), tokens_.end());
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end()), tokens_.end());
  for (uint32_t token : tokens_) {
    if (token >= work_.size()) continue;
    float& score = work_[token];
    score = score > 0 ? score / options_.repetition_penalty : score * options_.repetition_penalty;
  }
  return work_;
}

/// Candidates with their weights (comparisons drop NaN, and infinities beyond the best finite score): the top k, best first, or all in the order of their ids. A vocabulary is not sorted for nothing: that takes as long as a decode step.
void Sampler::collect(std::span<const float> scores, float best) {
  candidates_.clear();
  const float floor = best + kNegligible * options_.temperature;
  for (uint32_t i = 0; i < scores.size(); ++i) {
    if (scores[i] > floor && scores[i] <= best) candidates_.push_back({scores[i], i, 0.0});
  }
  if (options_.top_k != 0 && options_.top_k < candidates_.size()) {
    std::partial_sort(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), better);
    candidates_.resize(options_.top_k);
  }
  for (Candidate& c : candidates_) c.weight = std::exp((static_cast<double>(c.score) - best) / options_.temperature);
}

/// The fewest best candidates whose weights reach the share top_p of all.
void Sampler::keep_nucleus() {
  double total = 0, mass = 0;
  for (const Candidate& c : candidates_) total += c.weight;
  size_t kept = 0, sorted = 0;
  while (kept < candidates_.size() && (kept == 0 || mass < options_.top_p * total)) {
    if (kept == sorted) {  // the next stretch in order; the nucleus seldom needs a second one
      const auto begin = candidates_.begin() + static_cast<ptrdiff_t>(sorted);
      sorted = std::min(candidates_.size(), std::max<size_t>(64, sorted * 8));
      const auto end = candidates_.begin() + static_cast<ptrdiff_t>(sorted);
      std::nth_element(begin, end, candidates_.end(), better);
      std::sort(begin, end, better);
    }
    mass += candidates_[kept++].weight;
  }
  candidates_.resize(kept);
}

uint32_t Sampler::sample(std::span<const float> logits, std::span<const uint32_t> recent) {
  const std::span<const float> scores = penalised(logits, recent);
  const uint32_t best = argmax(scores);
  if (options_.temperature == 0 || options_.top_k == 1) return best;

  collect(scores, scores[best]);
  if (options_.top_p < 1.0f) keep_nucleus();
  // The best candidate has weight 1, so it always stays.
  if (options_.min_p > 0.0f) std::erase_if(candidates_, [&](const Candidate& c) { return c.weight < options_.min_p; });

  double mass = 0;
  for (const Candidate& c : candidates_) mass += c.weight;
  double point = next_uniform(state_) * mass;
  for (const Candidate& c : candidates_) {
    if ((point -= c.weight) < 0) return c.id;
  }
  return best;  // rounding of the sum only
}

}  // namespace lutra::kernels
