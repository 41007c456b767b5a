#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/cuda/arena.h"

namespace fulmen::kernels::cuda {
namespace {

// A device of `limit` bytes that counts what is asked of it.
struct Device {
  size_t limit = size_t{1} << 20, held = 0;
  int taken = 0;
  std::map<void*, size_t> sizes;
  ~Device() { EXPECT_EQ(held, 0u) << "an arena gives everything back"; }
  Arena::Source source() {
    return {[this](size_t bytes) -> void* {
              if (held + bytes > limit) return nullptr;
              void* p = std::aligned_alloc(Arena::kAlign, bytes);
              sizes[p] = bytes, held += bytes, ++taken;
              return p;
            },
            [this](void* p) {
              held -= sizes.at(p);
              sizes.erase(p);
              std::free(p);
            }};
  }
};

TEST(CudaArena, WhatWasReservedCostsTheDeviceNothing) {
  Device device;
  Arena arena(device.source());
  ASSERT_TRUE(arena.reserve(100000));
  EXPECT_EQ(device.taken, 1);
  for (int step = 0; step < 3; ++step) {
    std::vector<void*> p;
    for (const size_t bytes : {1, 300, 5000, 70000, 0}) p.push_back(arena.take(bytes));
    for (void* q : p) EXPECT_EQ(reinterpret_cast<uintptr_t>(q) % Arena::kAlign, 0u);
    for (void* q : p) EXPECT_TRUE(arena.give(q));
  }
  EXPECT_EQ(device.taken, 1);
  EXPECT_EQ(arena.in_use(), 0u);
}

TEST(CudaArena, NeighboursThatAreGivenBackBecomeOneRangeAgain) {
  Device device;
  Arena arena(device.source());
  ASSERT_TRUE(arena.reserve(4 * 256));
  for (const std::vector<int>& order : {std::vector<int>{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}}) {
    void* p[4];
    for (void*& q : p) q = arena.take(256);
    for (const int i : order) arena.give(p[i]);
    void* whole = arena.take(4 * 256);
    EXPECT_EQ(whole, p[0]);
    arena.give(whole);
  }
  EXPECT_EQ(device.taken, 1);
}

TEST(CudaArena, PhaseThatIsOverGivesItsPiecesToTheOther) {
  Device device;
  Arena rollout(device.source()), learner(device.source());
  ASSERT_TRUE(rollout.reserve(700000));
  void* weights = learner.take(200000);
  EXPECT_FALSE(learner.reserve(700000)) << "both at once are too much for this device";
  rollout.trim();
  EXPECT_TRUE(learner.reserve(700000));
  learner.trim();
  EXPECT_EQ(learner.held(), learner.in_use()) << "what is in use stays";
  EXPECT_TRUE(rollout.reserve(700000));
  EXPECT_TRUE(learner.give(weights));
}

TEST(CudaArena, RefusesWhatIsNotItsOwnAndWhatTheDeviceHasNot) {
  Device device;
  Arena arena(device.source());
  int elsewhere = 0;
  EXPECT_FALSE(arena.give(&elsewhere));
  EXPECT_EQ(arena.take(size_t{2} << 20), nullptr);
  void* p = arena.take(256);
  EXPECT_TRUE(arena.give(p));
  EXPECT_FALSE(arena.give(p)) << "given back twice";
}

TEST(CudaArena, RangesInUseNeverOverlapWhateverTheOrder) {
  Device device;
  Arena arena(device.source());
  std::mt19937 random(1);
  std::map<char*, size_t> used;
  for (int i = 0; i < 5000; ++i) {
    if (used.size() < 20 && random() % 2 == 0) {
      const size_t bytes = 1 + random() % 9000;
      auto* p = static_cast<char*>(arena.take(bytes));
      ASSERT_NE(p, nullptr);
      const auto after = used.lower_bound(p);
      if (after != used.end()) {
        ASSERT_LE(p + bytes, after->first);
      }
      if (after != used.begin()) {
        ASSERT_LE(std::prev(after)->first + std::prev(after)->second, p);
      }
      used[p] = bytes;
    } else if (!used.empty()) {
      const auto victim = std::next(used.begin(), static_cast<int>(random() % used.size()));
      ASSERT_TRUE(arena.give(victim->first));
      used.erase(victim);
    }
    if (i % 100 == 0) arena.trim();
  }
}

}  // namespace
}  // namespace fulmen::kernels::cuda
