#include "kernels/sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lutra::kernels {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

float number(float logit) { return std::isnan(logit) ? kNever : logit; }

}  // namespace

std::vector<Logprob> logprobs(std::span<const float> logits, uint32_t token, uint32_t count) {
  float best = kNever;
  for (const float logit : logits) best = std::max(best, number(logit));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(number(logit)) - best);
  const double norm = best + std::log(sum);

  std::vector<Logprob> out{{token, number(logits[token]) - norm}};
  if (count == 0) return out;
  std::vector<uint32_t> ids(logits.size());
  for (uint32_t i = 0; i < ids.size(); ++i) ids[i] = i;
  const auto middle = ids.begin() + std::min<size_t>(count, ids.size());
  std::partial_sort(ids.begin(), middle, ids.end(), [&](uint32_t a, uint32_t b) {
    const float x = number(logits[a]), y = number(logits[b]);
    return x != y ? x > y : a < b;
  });
  for (auto id = ids.begin(); id != middle; ++id) out.push_back({*id, number(logits[*id]) - norm});
  return out;
}

}  // namespace lutra::kernels
