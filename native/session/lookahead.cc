#include "session/lookahead.h"

#include <algorithm>

namespace lutra::session {
namespace {

constexpr size_t kLongest = 4;          // last tokens that are looked for
constexpr size_t kMostSearched = 8192;  // tokens back: microseconds of a step

}  // namespace

std::vector<uint32_t> look_up_drafts(std::span<const uint32_t> text, uint32_t most) {
  if (text.size() < 2 || most == 0) return {};
  const size_t size = text.size(), begin = size > kMostSearched ? size - kMostSearched : 0;
  size_t best = 0, after = 0;
  for (size_t end = size - 1; end > begin; --end) {  // text[end - 1] as the last token
    size_t run = 0;
    while (run < kLongest && run < end - begin && text[end - 1 - run] == text[size - 1 - run]) ++run;
    if (run <= best) continue;
    best = run;
    after = end;
    if (best == kLongest) break;
  }
  if (best == 0) return {};
  const auto found = text.subspan(after, std::min<size_t>(most, size - after));
  return {found.begin(), found.end()};
}

std::span<const float> Drafts::take(uint32_t token) {
  if (taken_ == tokens_.size() || tokens_[taken_] != token) {
    // What a rejected guess costs is saved where guesses are wrong.
    if (!tokens_.empty()) length_ = taken_ == tokens_.size() ? std::min(most_, 2 * length_) : std::clamp(static_cast<uint32_t>(taken_) + 1, 1u, most_);
    tokens_.clear();
    taken_ = 0;
    return {};
  }
  const size_t vocab = logits_.size() / tokens_.size();
  ++accepted_;
  return logits_.subspan(vocab * taken_++, vocab);
}

std::span<const uint32_t> Drafts::guess(std::span<const uint32_t> text, uint32_t token, uint32_t room) {
  tokens_.clear();
  taken_ = 0;
  if (most_ == 0) return {};
  std::vector<uint32_t> whole(text.begin(), text.end());
  whole.push_back(token);
  tokens_ = look_up_drafts(whole, std::min(length_, room));
  drafted_ += static_cast<uint32_t>(tokens_.size());
  return tokens_;
}

}  // namespace lutra::session
