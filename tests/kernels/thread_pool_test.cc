#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "kernels/context.h"
#include "kernels/error.h"
#include "kernels/table.h"

namespace fulmen::kernels {
namespace {

TEST(ThreadPool, RunCallsEachThreadExactlyOnce) {
  for (int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    std::vector<int> calls(static_cast<size_t>(threads));
    for (int i = 0; i < 100; ++i) pool.run([&](int t) { ++calls[static_cast<size_t>(t)]; });
    EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), 100));
  }
}

TEST(ThreadPool, WorkersThatFellAsleepAreWoken) {
  ThreadPool pool(3);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // far beyond the spin
    std::atomic<int> calls{0};
    pool.run([&](int) { ++calls; });
    EXPECT_EQ(calls, 3);
  }
}

TEST(ThreadPool, ParallelForCoversEveryIndexOnce) {
  ThreadPool pool(3);
  for (int64_t n : {0, 1, 7, 64, 1000})
    for (int64_t grain : {1, 7, 64, 5000}) {
      std::vector<int> hits(static_cast<size_t>(n));
      pool.parallel_for(n, grain, [&](int64_t b, int64_t e, int t) {
        ASSERT_TRUE(b < e && e <= n && e - b <= std::max(grain, int64_t{1}) && t >= 0 && t < 3);
        for (int64_t i = b; i < e; ++i) ++hits[static_cast<size_t>(i)];
      });
      EXPECT_EQ(hits, std::vector<int>(static_cast<size_t>(n), 1)) << n << " by " << grain;
    }
}

TEST(ThreadPool, SmallParallelForStaysInTheCaller) {
  ThreadPool pool(4);
  const auto caller = std::this_thread::get_id();
  pool.parallel_for(8, 8, [&](int64_t, int64_t, int t) {
    EXPECT_EQ(t, 0);
    EXPECT_EQ(std::this_thread::get_id(), caller);
  });
}

TEST(ThreadPool, DenormalsAreFlushedInEveryThread) {
  ThreadPool pool(4);
  std::vector<float> product(4, 1.0f);
  volatile float tiny = 1e-30f;
  pool.run([&](int t) { product[static_cast<size_t>(t)] = tiny * 1e-10f; });
  EXPECT_EQ(product, std::vector<float>(4, 0.0f));
}

TEST(ThreadPool, ScratchIsAlignedKeptAndOwnPerThread) {
  ThreadPool pool(3);
  std::vector<void*> first(3);
  pool.run([&](int t) {
    auto* p = static_cast<unsigned char*>(pool.scratch(t, 10000));
    std::fill(p, p + 10000, static_cast<unsigned char>(t));
    first[static_cast<size_t>(t)] = p;
  });
  for (int t = 0; t < 3; ++t) {
    auto* p = static_cast<unsigned char*>(pool.scratch(t, 500));  // smaller: the same block
    EXPECT_EQ(p, first[static_cast<size_t>(t)]);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    EXPECT_TRUE(std::all_of(p, p + 10000, [&](unsigned char c) { return c == t; }));
  }
}

TEST(ThreadPool, NestedRunIsRefused) {
  ThreadPool pool(2);
  std::string message;
  pool.run([&](int t) {
    if (t != 0) return;
    try {
      pool.run([](int) {});
    } catch (const Error& e) {
      message = e.what();
    }
  });
  EXPECT_NE(message.find("not nested"), std::string::npos) << message;
}

TEST(ThreadPool, NeedsAtLeastOneThread) { EXPECT_THROW(ThreadPool(0), Error); }

TEST(CpuContext, UnknownInstructionSetIsNamed) {
  ThreadPool pool(1);
  EXPECT_EQ(std::string(cpu_context(pool, "avx2").table->name), "cpu-avx2");
  try {
    cpu_context(pool, "sse9");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()), "cpu_context: isa is \"sse9\", want auto, avx2 or avx512");
  }
}

}  // namespace
}  // namespace fulmen::kernels
