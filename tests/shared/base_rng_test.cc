#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kernels/error.h"
#include "shared/base/rng.h"

namespace fulmen::base {
namespace {

using Words = std::array<uint32_t, 4>;

// The known-answer vectors published with Random123 for philox4x32-10.
TEST(Philox, KnownAnswerVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Uniform, EveryPartOfTheKeyChangesTheValue) {
  const uint64_t high = uint64_t{1} << 40;  // the upper words count too
  std::set<double> values{uniform(1, Purpose::kSample, 2, 3, 4),        uniform(2, Purpose::kSample, 2, 3, 4),
                          uniform(1 + high, Purpose::kSample, 2, 3, 4), uniform(1, Purpose::kTask, 2, 3, 4),
                          uniform(1, Purpose::kSample, 3, 3, 4),        uniform(1, Purpose::kSample, 2 + high, 3, 4),
                          uniform(1, Purpose::kSample, 2, 4, 4),        uniform(1, Purpose::kSample, 2, 3, 5),
                          uniform(1, Purpose::kSample, 2, 3, 4 + high)};
  EXPECT_EQ(values.size(), 9u);
  EXPECT_EQ(uniform(1, Purpose::kSample, 2, 3, 4), uniform(1, Purpose::kSample, 2, 3, 4));
}

// Mean of n uniforms has deviation 1/sqrt(12 n): five of them is a bound that a fixed key either meets or not.
TEST(Uniform, FillsTheUnitIntervalEvenly) {
  constexpr int kCount = 100000;
  double sum = 0;
  std::array<int, 16> bins{};
  for (int i = 0; i < kCount; ++i) {
    const double u = uniform(7, Purpose::kTest, 1, 2, static_cast<uint64_t>(i));
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    ++bins[static_cast<size_t>(u * 16)];
  }
  EXPECT_NEAR(sum / kCount, 0.5, 5 / std::sqrt(12.0 * kCount));
  for (const int n : bins) EXPECT_NEAR(n, kCount / 16.0, 5 * std::sqrt(kCount / 16.0));
}

TEST(Stream, SameKeySameSequence) {
  Stream a(5, Purpose::kTask, 6, 7), b(5, Purpose::kTask, 6, 7), other(5, Purpose::kTask, 6, 8);
  int same_as_other = 0;
  for (int i = 0; i < 100; ++i) {
    const uint32_t word = a.next_u32();
    EXPECT_EQ(word, b.next_u32());
    same_as_other += word == other.next_u32();
  }
  EXPECT_LE(same_as_other, 1);
}

TEST(Stream, IntegersCoverTheRangeInclusivelyAndEvenly) {
  Stream s(1, Purpose::kTest);
  std::array<int, 7> bins{};
  for (int i = 0; i < 70000; ++i) {
    const int64_t n = s.next_int(-3, 3);
    ASSERT_GE(n, -3);
    ASSERT_LE(n, 3);
    ++bins[static_cast<size_t>(n + 3)];
  }
  for (const int n : bins) EXPECT_NEAR(n, 10000, 500);
  EXPECT_EQ(s.next_int(42, 42), 42);
  s.next_int(INT64_MIN, INT64_MAX);  // the whole range has no remainder to reject
  EXPECT_THROW(s.next_int(2, 1), Error);
}

TEST(Stream, NormalsHaveMeanZeroAndVarianceOne) {
  Stream s(3, Purpose::kInit, 1);
  constexpr int kCount = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kCount; ++i) {
    const double x = s.next_normal();
    ASSERT_TRUE(std::isfinite(x));
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1, 5 * std::sqrt(2.0 / kCount));
}

}  // namespace
}  // namespace fulmen::base
