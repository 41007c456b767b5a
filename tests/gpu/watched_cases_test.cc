#include "watched_cases.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <vector>

namespace fulmen::gpu {
namespace {

struct Seen {
  std::vector<CaseResult> results;
  std::vector<std::string> prepared;
  int code = 0;
};

Seen watch_cases(
    size_t n, const std::function<End(size_t)>& run, double seconds_each = 5,
    const std::function<std::string()>& prepare = [] { return std::string("a GPU"); }) {
  Seen seen;
  std::vector<size_t> numbers;
  for (size_t i = 0; i < n; ++i) numbers.push_back(10 + i);
  seen.code = run_watched(numbers, {.prepare = prepare,
                                    .run = run,
                                    .prepared = [&](const std::string& text) { seen.prepared.push_back(text); },
                                    .done = [&](const CaseResult& r) { seen.results.push_back(r); },
                                    .seconds_each = seconds_each});
  return seen;
}

TEST(WatchedCases, EachIsRunOnceInOrderInOneProcess) {
  int of_this_process = 0;
  const Seen seen = watch_cases(4, [&](size_t i) {
    ++of_this_process;
    return i == 11 ? End::kFailed : i == 13 && of_this_process == 4 ? End::kLeftOut : End::kPassed;
  });
  EXPECT_EQ(seen.code, 0);
  EXPECT_EQ(seen.prepared, std::vector<std::string>{"a GPU"});
  ASSERT_EQ(seen.results.size(), 4u);
  const End want[] = {End::kPassed, End::kFailed, End::kPassed, End::kLeftOut};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(seen.results[i].number, 10 + i);
    EXPECT_EQ(seen.results[i].end, want[i]) << i;
    EXPECT_EQ(seen.results[i].why, "");
  }
  EXPECT_EQ(of_this_process, 0) << "a case ran in the caller";
}

TEST(WatchedCases, OneThatHangsDiesOrBreaksTheDeviceCostsNoOther) {
  bool broken = false;  // of one process
  const Seen seen = watch_cases(
      7,
      [&](size_t i) {
        if (broken) return End::kFailed;
        if (i == 11) raise(SIGSEGV);
        if (i == 12) pause();
        if (i == 13) _exit(3);
        broken = i == 15;
        return broken ? End::kBroken : End::kPassed;
      },
      0.5);
  EXPECT_EQ(seen.code, 0);
  EXPECT_EQ(seen.prepared.size(), 1u);
  ASSERT_EQ(seen.results.size(), 7u);
  const std::string why[] = {"", "ended by signal 11", "hung for 0 s", "ended by exit 3", "", "", ""};
  for (size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(seen.results[i].why, why[i]);
    const bool lost = i == 1 || i == 2 || i == 3 || i == 5;
    EXPECT_EQ(seen.results[i].end, lost ? End::kBroken : End::kPassed) << i;
  }
}

TEST(WatchedCases, MachineThatIsNoUseEndsItAtOnce) {
  const auto never = [](size_t) { return End::kPassed; };
  const Seen seen = watch_cases(3, never, 5, []() -> std::string { _exit(77); });
  EXPECT_EQ(seen.code, 77);
  EXPECT_TRUE(seen.results.empty());
  EXPECT_EQ(watch_cases(3, never, 0.3, []() -> std::string { return pause(), ""; }).code, 1);
}

}  // namespace
}  // namespace fulmen::gpu
