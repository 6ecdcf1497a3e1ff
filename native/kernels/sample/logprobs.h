// Probabilities that a model gives to tokens, before temperature and every other option of sampling.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lutra::kernels {

struct Logprob {
  uint32_t token;
  double value;  // natural logarithm; −inf where the logit is −inf or NaN
};

/// Of `token` first, then of the `count` most likely tokens (or all there are), the lower id first among equals. logits: [vocab] F32 with a finite one among them, token < vocab.
std::vector<Logprob> logprobs(std::span<const float> logits, uint32_t token, uint32_t count);

}  // namespace lutra::kernels
