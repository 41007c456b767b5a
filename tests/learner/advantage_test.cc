#include "learner/advantage.h"

#include <gtest/gtest.h>

namespace fulmen::learner {
namespace {

Episode scored(uint64_t prompt, uint32_t sample, double score) {
  Episode e;
  e.prompt_id = prompt, e.sample_index = sample, e.outcome = Outcome::kScored, e.score = score;
  e.completion = {1};
  return e;
}

TEST(Advantage, IsScoreMinusGroupMeanOverUnbiasedDeviation) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 0), scored(1, 2, 0), scored(1, 3, 0)};
  assign_advantages(e, {});
  EXPECT_NEAR(e[0].advantage, 0.75 / (0.5 + 1e-6), 1e-12);  // deviation of 1,0,0,0 with n - 1 is 0.5
  EXPECT_NEAR(e[1].advantage, -0.25 / (0.5 + 1e-6), 1e-12);
}

TEST(Advantage, WithoutStdIsTheDifferenceAlone) {
  std::vector<Episode> e = {scored(1, 0, 3), scored(1, 1, 1)};
  assign_advantages(e, {.by_std = false});
  EXPECT_EQ(e[0].advantage, 1);
  EXPECT_EQ(e[1].advantage, -1);
}

TEST(Advantage, OnlyScoresEnterAGroup) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 0), scored(1, 2, 0)};
  e[2].outcome = Outcome::kTimeout;
  const AdvantageCounts c = assign_advantages(e, {.by_std = false});
  EXPECT_EQ(e[0].advantage, 0.5);
  EXPECT_EQ(c.trained, 2);
  EXPECT_EQ(c.dropped.at("timeout"), 1);
  EXPECT_FALSE(e[2].trained);
}

TEST(Advantage, ZeroVarianceGroupsAreDroppedAndCounted) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 1), scored(2, 0, 1), scored(2, 1, 0)};
  const AdvantageCounts c = assign_advantages(e, {});
  EXPECT_EQ(c.groups, 2);
  EXPECT_EQ(c.zero_variance_groups, 1);
  EXPECT_EQ(c.dropped.at("zero_variance"), 2);
  EXPECT_EQ(c.trained, 2);
}

TEST(Advantage, TruncatedCompletionsCountInTheMeanButGiveNoGradientWhenMasked) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 0)};
  e[1].truncated = true;
  const AdvantageCounts c = assign_advantages(e, {.by_std = false, .mask_truncated = true});
  EXPECT_EQ(e[0].advantage, 0.5);
  EXPECT_EQ(c.dropped.at("truncated"), 1);
}

TEST(Advantage, UnparsableIsZeroOnlyWhenTheConfigSaysSo) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 0)};
  e[1].outcome = Outcome::kUnparsable;
  std::vector<Episode> f = e;
  EXPECT_EQ(assign_advantages(e, {}).dropped.at("unparsable"), 1);
  EXPECT_EQ(assign_advantages(f, {.unparsable_is_zero = true}).trained, 2);
}

TEST(Advantage, UndecidedIsDroppedUnderItsOwnName) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(1, 1, 0), scored(1, 2, 0)};
  e[2].outcome = Outcome::kUndecided;
  const AdvantageCounts c = assign_advantages(e, {.unparsable_is_zero = true});
  EXPECT_EQ(c.dropped.at("undecided"), 1);
  EXPECT_EQ(c.trained, 2);
}

TEST(Advantage, EveryEpisodeIsTrainedOrDropped) {
  std::vector<Episode> e = {scored(1, 0, 1), scored(2, 0, 1), scored(2, 1, 0), scored(3, 0, 0)};
  e[3].outcome = Outcome::kAborted;
  const AdvantageCounts c = assign_advantages(e, {});
  int64_t dropped = 0;
  for (const auto& [reason, n] : c.dropped) dropped += n;
  EXPECT_EQ(c.trained + dropped, 4);
  EXPECT_EQ(c.dropped.at("lonely"), 1);
}

}  // namespace
}  // namespace fulmen::learner
