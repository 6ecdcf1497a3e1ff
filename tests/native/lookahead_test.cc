// Guesses from what was said before.
#include "session/lookahead.h"

#include <gtest/gtest.h>

namespace lutra::session {
namespace {

using Tokens = std::vector<uint32_t>;

TEST(LookUpDrafts, FollowTheLongestAndThenTheLatestRun) {
  EXPECT_EQ(look_up_drafts(Tokens{1, 2, 3, 9, 1, 2}, 4), (Tokens{3, 9, 1, 2}));
  EXPECT_EQ(look_up_drafts(Tokens{1, 2, 3, 7, 2, 4, 1, 2}, 1), (Tokens{3}));         // 1 2 before 2
  EXPECT_EQ(look_up_drafts(Tokens{2, 3, 7, 2, 4, 8, 2}, 2), (Tokens{4, 8}));         // the later one of two as long
  EXPECT_EQ(look_up_drafts(Tokens{5, 5, 5}, 3), (Tokens{5}));                        // what follows ends with the text
  EXPECT_EQ(look_up_drafts(Tokens{6, 1, 2, 3, 4, 7, 1, 2, 3, 4}, 1), (Tokens{7}));
}

TEST(LookUpDrafts, AreNoneWhereNothingRepeats) {
  EXPECT_TRUE(look_up_drafts(Tokens{}, 4).empty());
  EXPECT_TRUE(look_up_drafts(Tokens{1}, 4).empty());
  EXPECT_TRUE(look_up_drafts(Tokens{1, 2, 3}, 4).empty());
  EXPECT_TRUE(look_up_drafts(Tokens{1, 2, 1}, 0).empty());
}

TEST(Drafts, AreTakenOneByOneUntilOneIsWrong) {
  Drafts drafts(7);
  const Tokens text = {1, 2, 3, 4, 5, 1};
  EXPECT_TRUE(drafts.take(2).empty());
  const auto guesses = drafts.guess(text, 2, 7);
  ASSERT_EQ(Tokens(guesses.begin(), guesses.end()), (Tokens{3, 4}));
  const std::vector<float> logits = {0.1f, 0.2f, 0.3f, 1.1f, 1.2f, 1.3f};
  drafts.computed(logits);
  EXPECT_EQ(drafts.take(3)[0], 0.1f);
  EXPECT_TRUE(drafts.take(9).empty());
  EXPECT_TRUE(drafts.take(4).empty());  // it is rejected with the one before
  EXPECT_EQ(drafts.drafted(), 2u);
  EXPECT_EQ(drafts.accepted(), 1u);
}

TEST(Drafts, AreMoreWhereTheyAreRightAndFewerWhereNot) {
  Drafts drafts(7);
  const Tokens text = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto round = [&](size_t right) {
    const auto span = drafts.guess(text, 1, 100);
    const Tokens guesses(span.begin(), span.end());
    const std::vector<float> logits(guesses.size());
    drafts.computed(logits);
    for (size_t i = 0; i < std::min(right, guesses.size()); ++i) EXPECT_FALSE(drafts.take(guesses[i]).empty());
    EXPECT_TRUE(drafts.take(0).empty());
    return guesses.size();
  };
  EXPECT_EQ(round(9), 2u);
  EXPECT_EQ(round(9), 4u);
  EXPECT_EQ(round(1), 7u);
  EXPECT_EQ(round(0), 2u);
  EXPECT_EQ(round(0), 1u);
  EXPECT_EQ(drafts.guess(text, 1, 0).size(), 0u);
  EXPECT_EQ(Drafts(0).guess(text, 1, 9).size(), 0u);
}

}  // namespace
}  // namespace lutra::session
