#include "learner/shards.h"

#include <gtest/gtest.h>

#include <numeric>

namespace fulmen::learner {
namespace {

std::vector<Range> shards_of(const std::vector<size_t>& rows, int most) {
  static const std::vector<int32_t> ids(100000);
  std::vector<Sequence> sequences;
  for (const size_t n : rows) sequences.push_back({{ids.data(), n / 3}, {ids.data(), n - n / 3}});
  return shard_sequences(sequences, most);
}

TEST(Shards, AreConsecutiveAndEvenAndNotMoreThanAsked) {
  std::vector<size_t> rows;
  for (size_t i = 0; i < 300; ++i) rows.push_back(20 + i * 7 % 31);
  const size_t total = std::accumulate(rows.begin(), rows.end(), size_t{0});
  for (const int most : {1, 2, 3, 4, 7}) {
    const auto shards = shards_of(rows, most);
    ASSERT_EQ(shards.size(), static_cast<size_t>(most));
    size_t next = 0;
    for (const Range& s : shards) {
      ASSERT_EQ(s.first, next);
      next += s.count;
      size_t n = 0;
      for (size_t i = s.first; i < next; ++i) n += rows[i];
      EXPECT_NEAR(static_cast<double>(n), static_cast<double>(total) / most, 51) << most;
    }
    EXPECT_EQ(next, rows.size());
  }
}

TEST(Shards, SmallBatchesStayWholeAndNoShardIsEmpty) {
  EXPECT_EQ(shards_of({500, 500}, 4), (std::vector<Range>{{0, 2}}));
  EXPECT_EQ(shards_of({}, 4), std::vector<Range>{});
  EXPECT_EQ(shards_of({50000, 10}, 4), (std::vector<Range>{{0, 1}, {1, 1}}));  // one sequence is never cut
  EXPECT_EQ(shards_of({10, 50000}, 4), (std::vector<Range>{{0, 1}, {1, 1}}));
}

TEST(Shards, SharesCoverEverythingOnceInRankOrder) {
  for (size_t n = 0; n < 9; ++n)
    for (int ranks = 1; ranks < 6; ++ranks) {
      size_t next = 0;
      for (int r = 0; r < ranks; ++r) {
        const Range share = share_of(n, r, ranks);
        EXPECT_EQ(share.first, next);
        EXPECT_LE(share.count, n / static_cast<size_t>(ranks) + 1);
        next += share.count;
      }
      EXPECT_EQ(next, n);
    }
}

}  // namespace
}  // namespace fulmen::learner
