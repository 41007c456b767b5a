#include "rollout/cache_plan.h"

#include <gtest/gtest.h>

namespace fulmen::rollout {
namespace {

constexpr int64_t kMiB = 1 << 20;

EngineLimits limits(int64_t memory, int64_t max_tokens, int sequences) {
  return {.max_sequences = sequences, .prefill_rows = 64, .memory_bytes = memory, .max_tokens = max_tokens};
}

TEST(CachePlan, StaysWithinItsMemoryAndHoldsOneWholeSequence) {
  for (const int64_t slot : {int64_t{0}, int64_t{1000}, kMiB, 30 * kMiB}) {
    for (const int64_t page : {int64_t{0}, int64_t{512}, kMiB / 4, 3 * kMiB}) {
      for (const int64_t max_tokens : {1, 64, 65, 640, 1000}) {
        for (const int64_t memory : {slot + pages_for(max_tokens) * page, 77 * kMiB, 200 * kMiB}) {
          if (memory < slot + pages_for(max_tokens) * page) continue;
          const CachePlan plan = plan_cache(slot, page, limits(memory, max_tokens, 24));
          EXPECT_LE(plan.slots * slot + plan.pages * page, memory);
          EXPECT_GE(plan.slots, 1);
          EXPECT_LE(plan.slots, 24);
          EXPECT_GE(plan.pages, plan.max_pages_per_slot);
          EXPECT_LE(plan.pages, plan.slots * plan.max_pages_per_slot);
          EXPECT_EQ(plan.max_pages_per_slot, pages_for(max_tokens));
        }
      }
    }
  }
}

TEST(CachePlan, PlentyOfMemoryGivesEverySequenceAllItsPages) {
  const CachePlan plan = plan_cache(kMiB, kMiB, limits(1000 * kMiB, 640, 8));
  EXPECT_EQ(plan.slots, 8);
  EXPECT_EQ(plan.pages, 80);
}

TEST(CachePlan, TooLittleMemoryNamesTheNumberToRaise) {
  try {
    plan_cache(4 * kMiB, kMiB, limits(64 * kMiB, 4096, 8));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(
        e.what(),
        "rollout cache: one sequence of 4096 tokens needs 68.0 MiB (state 4.0 + 64 pages of 64 tokens 64.0), got "
        "64.0 MiB; raise rollout.memory_mb to at least 68, or lower max_new_tokens");
  }
}

TEST(PagePool, PageIsFreeWhenItsLastHolderLetsGo) {
  PagePool pool(2);
  const int32_t a = pool.take(), b = pool.take();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool.take(), -1);
  pool.share(a);
  pool.release(a);
  EXPECT_EQ(pool.free(), 0);
  pool.release(a);
  EXPECT_EQ(pool.free(), 1);
  EXPECT_THROW(pool.release(a), Error);
  EXPECT_THROW(pool.share(a), Error);
  EXPECT_EQ(pool.take(), a);
}

TEST(CachePlan, ADeviceWithTooLittleMemoryIsToldWhatToLowerAndToWhat) {
  const CachePlan plan{.slots = 10, .pages = 50, .max_pages_per_slot = 5};
  check_device_memory(plan, 4 * kMiB, kMiB, 1000, 200 * kMiB);
  check_device_memory(plan, 4 * kMiB, kMiB, 1000, SIZE_MAX);  // host memory
  try {
    check_device_memory(plan, 4 * kMiB, kMiB, kMiB, 100 * kMiB);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "rollout.memory_mb: the caches take 90 MiB and logits 40 MiB, the device has 100 MiB free; lower "
                 "rollout.memory_mb to 50");
  }
  try {
    check_device_memory(plan, 4 * kMiB, kMiB, 10 * kMiB, 100 * kMiB);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("; lower rollout.max_sequences to 1"), std::string::npos) << e.what();
  }
  try {
    check_device_memory(plan, 4 * kMiB, kMiB, 10 * kMiB, 10 * kMiB);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("free the device"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fulmen::rollout
