#include "learner/packer.h"

#include <gtest/gtest.h>

#include "kernels/error.h"

namespace fulmen::learner {
namespace {

const std::vector<int32_t> kPrompt = {1, 2, 3}, kTarget = {4, 5}, kLong = {6, 7, 8, 9, 10, 11};

TEST(Packer, RowsPredictTheirTargets) {
  const std::vector<Sequence> s = {{kPrompt, kTarget}, {kPrompt, kLong}};
  const auto b = pack(s, 100);
  ASSERT_EQ(b.size(), 1u);
  EXPECT_EQ(b[0].tokens, (std::vector<int32_t>{1, 2, 3, 4, 1, 2, 3, 6, 7, 8, 9, 10}));
  EXPECT_EQ(b[0].targets, (std::vector<int32_t>{4, 5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(b[0].rows, (std::vector<int32_t>{2, 3, 6, 7, 8, 9, 10, 11}));
  ASSERT_EQ(b[0].segments.size(), 2u);
  EXPECT_EQ(b[0].segments[1].row0, 4);
  EXPECT_EQ(b[0].segments[1].rows, 8);
}

TEST(Packer, BudgetSplitsBetweenSequencesOnly) {
  const std::vector<Sequence> s = {{kPrompt, kTarget}, {kPrompt, kTarget}, {kPrompt, kLong}, {kPrompt, kTarget}};
  const auto b = pack(s, 8);
  ASSERT_EQ(b.size(), 3u);  // 4 + 4, 8, 4
  EXPECT_EQ(b[0].count, 2u);
  EXPECT_EQ(b[1].first, 2u);
  EXPECT_EQ(b[2].first, 3u);
  EXPECT_EQ(pack(s, 1).size(), 4u);  // a sequence longer than the budget has a micro-batch of its own
}

TEST(Packer, EmptyPartIsNamed) {
  const std::vector<Sequence> s = {{kPrompt, {}}};
  EXPECT_THROW(pack(s, 8), Error);
  EXPECT_TRUE(pack({}, 8).empty());
}

}  // namespace
}  // namespace fulmen::learner
