// Prompt look-up decoding (Saxena 2023; llama.cpp's "lookup"): what followed the last tokens earlier in the text is a guess of what follows them now. The guesses are computed in
// the same pass as the token that is certain, whose weights are read once for all of them; sampling then takes from their logits what it would have taken anyway.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/executor.h"

namespace lutra::session {

inline constexpr uint32_t kMostDrafts = plan::kMostSingleRows - 1;  // with the certain token

/// At most `most` tokens that followed the latest earlier place where the last tokens of `text` stand; the longest such run of last tokens counts, of kLongest … 1.
/// Empty when they are new.
std::vector<uint32_t> look_up_drafts(std::span<const uint32_t> text, uint32_t most);

/// The guesses of one generation: those that were computed and are neither sampled nor rejected yet, and how many are worth computing next.
class Drafts {
 public:
  /// `most` ≤ kMostDrafts; 0: no guesses.
  explicit Drafts(uint32_t most) : most_(most), length_(most < 2 ? most : 2) {}

  /// The logits that follow `token` when it is the next guess, which is then taken; else empty, and all guesses are rejected.
  std::span<const float> take(uint32_t token);
  /// New guesses, at most `room`, of what follows `text` and then `token`.
  std::span<const uint32_t> guess(std::span<const uint32_t> text, uint32_t token, uint32_t room);
  /// logits [guesses, vocab] of the guesses, which have been computed; they stay where they are until the last one is taken.
  void computed(std::span<const float> logits) noexcept { logits_ = logits; }

  uint32_t drafted() const noexcept { return drafted_; }    // guesses so far
  uint32_t accepted() const noexcept { return accepted_; }  // of them taken

 private:
  uint32_t most_, length_;
  std::vector<uint32_t> tokens_;
  size_t taken_ = 0;  // of tokens_
  std::span<const float> logits_;
  uint32_t drafted_ = 0, accepted_ = 0;
};

}  // namespace lutra::session
