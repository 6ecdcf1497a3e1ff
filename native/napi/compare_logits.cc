#include "napi/compare_logits.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "napi/arguments.h"
#include "napi/kernels_table.h"

namespace lutra::addon {
namespace {

constexpr size_t kFigures = 4;

/// {Σ p ln(p / q), −ln q(next), −ln p(next), 1 when both have the same largest logit} of one prediction; p: of `reference`.
void compare(const float* logits, const float* reference, size_t vocab, size_t next, double* figures) {
  const float* top = std::max_element(logits, logits + vocab);
  const float* reference_top = std::max_element(reference, reference + vocab);
  double sum = 0, reference_sum = 0, weighted = 0;
  for (size_t i = 0; i < vocab; ++i) {
    const float mine = logits[i] - *top, its = reference[i] - *reference_top;
    const float weight = std::exp(its);
    sum += std::exp(mine);
    reference_sum += weight;
    weighted += static_cast<double>(weight) * (its - mine);
  }
  const double log_sum = std::log(sum), reference_log_sum = std::log(reference_sum);
  figures[0] = weighted / reference_sum - reference_log_sum + log_sum;
  figures[1] = log_sum - (logits[next] - *top);
  figures[2] = reference_log_sum - (reference[next] - *reference_top);
  figures[3] = top - logits == reference_top - reference ? 1 : 0;
}

}  // namespace

Napi::Value compare_logits(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&]() -> Napi::Value {
    const Arguments a(info);
    const auto logits = a.array<const float>(0, "logits", napi_float32_array), reference = a.array<const float>(1, "reference", napi_float32_array);
    const auto next = a.array<const uint32_t>(2, "next", napi_uint32_array);
    const uint32_t threads = thread_count(info, 3);
    const size_t rows = next.size(), vocab = rows == 0 ? 0 : logits.size() / rows;
    if (vocab == 0 || logits.size() != rows * vocab || reference.size() != logits.size()) {
      throw Error(ErrorCode::kInvalidArgument, std::to_string(logits.size()) + " and " + std::to_string(reference.size()) + " logits for " + std::to_string(rows) + " predictions",
                  "give as many of both, and a following token for each row");
    }
    for (const uint32_t token : next) {
      if (token >= vocab) throw Error(ErrorCode::kInvalidArgument, "token " + std::to_string(token) + " is outside the vocabulary of " + std::to_string(vocab));
    }
    auto out = Napi::Float64Array::New(info.Env(), rows * kFigures);
    double* figures = out.Data();
    ThreadPool(threads).run(static_cast<uint32_t>(rows), [&](uint32_t r) { compare(logits.data() + r * vocab, reference.data() + r * vocab, vocab, next[r], figures + r * kFigures); });
    return out;
  });
}

}  // namespace lutra::addon
