#include "shared/collective/collective.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "kernels/error.h"
#include "kernels/table.h"
#include "tests/shared/collective_ranks.h"

namespace fulmen::collective {
namespace {

// Every property holds for Gloo and for NCCL, the latter against a double of the library (nccl_double.cc).
class CollectiveOf : public ::testing::TestWithParam<const char*> {
 protected:
  static bool nccl() { return std::string(GetParam()) == "nccl"; }
  static std::unique_ptr<Collective> make(const GroupOptions& o) {
    if (!nccl()) return make_gloo(o);
    static Device device;
    return make_nccl(o, {.ctx = &device.ctx, .library = FULMEN_NCCL_DOUBLE});
  }
};
INSTANTIATE_TEST_SUITE_P(, CollectiveOf, ::testing::Values("gloo", "nccl"),
                         [](const auto& p) { return std::string(p.param); });

TEST_P(CollectiveOf, SumIsInRankOrderBitForBitAndTheSameOnEveryRank) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    for (size_t n : {size_t{1}, size_t{2}, size_t{7}, size_t{1000003}}) {  // fewer than ranks, odd, several rounds
      std::vector<float> zero = values(0, n), one = values(1, n), two = values(2, n), want(n), other(n);
      for (size_t i = 0; i < n; i++) {
        want[i] = (zero[i] + one[i]) + two[i];
        other[i] = (two[i] + one[i]) + zero[i];
      }
      if (n > 100 && memcmp(want.data(), other.data(), n * sizeof(float)) == 0) return false;  // the values must tell
      std::vector<float> got = values(rank, n);
      std::this_thread::sleep_for(std::chrono::milliseconds(rank == 0 ? 20 : 0));  // arrival order is not rank order
      c->allreduce_sum(got);
      if (memcmp(got.data(), want.data(), n * sizeof(float)) != 0) return false;
    }
    std::vector<double> d{1.0 + rank};
    c->allreduce_sum(d);
    c->allreduce_sum(std::span<float>());
    return d[0] == 6.0;
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST_P(CollectiveOf, PartsAreAddedInOrderWhateverRankHoldsThem) {
  constexpr size_t kLength = 700001;  // more than one round
  std::vector<std::vector<float>> part;
  for (int p = 0; p < 5; p++) part.push_back(values(p, kLength));
  std::vector<float> want = part[0], grouped = part[0], tail = part[2];
  for (size_t p = 1; p < 5; p++)
    for (size_t i = 0; i < kLength; i++) want[i] += part[p][i];
  for (size_t i = 0; i < kLength; i++)
    grouped[i] = (part[0][i] + part[1][i]) + ((part[2][i] + part[3][i]) + part[4][i]);
  ASSERT_NE(memcmp(want.data(), grouped.data(), kLength * sizeof(float)), 0) << "the values must tell orders apart";
  const std::vector<std::vector<int>> splits{{2, 3}, {0, 5}, {1, 0, 4}, {2, 2, 1}};
  for (size_t s = 0; s < splits.size(); s++) {
    Directory dir;
    const std::vector<int>& counts = splits[s];
    const int size = static_cast<int>(counts.size());
    auto codes = run_ranks(size, [&](int rank) {
      auto c = make(options(dir, rank, size));
      std::vector<std::span<const float>> own;
      size_t first = 0;
      for (int r = 0; r < rank; r++) first += static_cast<size_t>(counts[static_cast<size_t>(r)]);
      for (int k = 0; k < counts[static_cast<size_t>(rank)]; k++) own.push_back(part[first + static_cast<size_t>(k)]);
      std::vector<float> out(kLength, 99.0f);
      std::span<float> into = out;
      if (!own.empty()) into = part[first];  // in place
      c->sum_in_order(own, counts, into);
      return memcmp(into.data(), want.data(), kLength * sizeof(float)) == 0;
    });
    EXPECT_EQ(codes, std::vector<int>(counts.size(), 0)) << "split " << s;
  }
}

TEST_P(CollectiveOf, WaitForHasNoDeadlineWhileTheRankLivesAndEndsWhenItIsGone) {
  Directory dir;
  auto codes = run_ranks(2, [&](int rank) {
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = 300;
    auto c = make(o);
    if (rank == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(900));
      c->barrier();
      return true;
    }
    c->wait_for(0);
    c->barrier();
    try {
      c->wait_for(0);
    } catch (const Error& e) {
      return std::string(e.what()).find("rank 0 is gone") != std::string::npos;
    }
    return false;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST_P(CollectiveOf, WaitingForRanksEndsWhenTheCallerKnowsBetter) {
  Directory dir;
  GroupOptions o = options(dir, 0, 2);
  o.while_waiting = [] { throw Error("rank 1 could not read its model"); };
  EXPECT_THROW(make(o), Error);
}

TEST_P(CollectiveOf, GatherAndBroadcastCarryBytesOfAnyLength) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    std::string own(static_cast<size_t>(rank) * 1000, static_cast<char>('a' + rank));  // rank 0 sends nothing
    std::vector<std::string> all = c->allgather(own);
    bool ok = all.size() == 3 && all[0].empty() && all[1] == std::string(1000, 'b') && all[2] == std::string(2000, 'c');
    std::string text = rank == 2 ? std::string("weights\0v7", 10) : "old";
    c->broadcast(text, 2);
    ok = ok && text == std::string("weights\0v7", 10);
    text = "something";
    if (rank == 1) text.clear();
    c->broadcast(text, 1);
    c->barrier();
    return ok && text.empty() && c->allgather("").at(1).empty();
  });
  EXPECT_EQ(codes, std::vector<int>(3, 0));
}

TEST_P(CollectiveOf, RankThatNeverComesIsNamed) {
  Directory dir;
  GroupOptions o = options(dir, 0, 3);
  o.timeout_ms = 50;
  try {
    make(o);
    FAIL() << "a group of one out of three";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("ranks 1, 2 of 3 did not come"), std::string::npos) << e.what();
  }
  EXPECT_THROW(make(o), Error) << "the epoch was used before";
}

bool fails_naming(Collective& c, const std::vector<std::string>& any_of) {
  std::vector<float> v(1000, 1.0f);
  try {
    for (int i = 0; i < 100; i++) c.allreduce_sum(v);
  } catch (const Error& e) {
    bool named = false;
    for (const std::string& part : any_of) named = named || std::string(e.what()).find(part) != std::string::npos;
    if (!named) fprintf(stderr, "%s\n", e.what());
    try {
      c.barrier();
    } catch (const Error&) {
      return named;  // and the group stays broken
    }
  }
  return false;
}

TEST_P(CollectiveOf, RankThatDiesEndsTheCallOfTheOthersAndIsNamed) {
  Directory dir;
  auto codes = run_ranks(3, [&](int rank) {
    auto c = make(options(dir, rank, 3));
    std::vector<float> v(1000, 1.0f);
    c->allreduce_sum(v);
    if (rank == 1) kill(getpid(), SIGKILL);
    // The one that notices second may find the first to have ended too.
    return fails_naming(*c, {"rank 1 is gone", "ranks 0, 1 are gone", "ranks 1, 2 are gone"});
  });
  EXPECT_EQ(codes, (std::vector<int>{0, -1, 0}));
}

TEST_P(CollectiveOf, RankThatHangsEndsTheCallAtTheDeadlineAndIsNamed) {
  Directory dir;
  auto codes = run_ranks(2, [&](int rank) {
    GroupOptions o = options(dir, rank, 2);
    o.timeout_ms = rank == 0 ? 1000 : 20000;
    auto c = make(o);
    c->barrier();
    if (rank == 0) return fails_naming(*c, {"rank 1 did not come to call"});
    try {
      std::this_thread::sleep_for(std::chrono::milliseconds(1800));
      c->barrier();
    } catch (const Error&) {
      return true;
    }
    return false;
  });
  EXPECT_EQ(codes, std::vector<int>(2, 0));
}

TEST(Collective, OneRankNeedsNobody) {
  auto c = make_self();
  std::vector<float> v{1, 2};
  c->allreduce_sum(v);
  std::string s = "x";
  c->broadcast(s, 0);
  c->barrier();
  EXPECT_EQ(v, (std::vector<float>{1, 2}));
  EXPECT_EQ(c->allgather("abc"), std::vector<std::string>{"abc"});
  EXPECT_EQ(c->size(), 1);
  EXPECT_THROW(c->broadcast(s, 1), Error);
  GroupOptions o;
  o.rank = 2;
  o.size = 2;
  o.epoch = "e";
  EXPECT_THROW(make_gloo(o), Error);
}

}  // namespace
}  // namespace fulmen::collective
