#include <gtest/gtest.h>
#include <unistd.h>

#include "kernels/error.h"
#include "shared/base/file.h"
#include "shared/base/log.h"
#include "shared/base/progress.h"

namespace fulmen::base {
namespace {

TEST(Log, FileHoldsEveryLevelWithTheRoleAndStderrOnlyWhatPeopleNeed) {
  const std::string path = testing::TempDir() + "fulmen_log_" + std::to_string(::getpid());
  open_log("rollout-3", path);
  testing::internal::CaptureStderr();
  debug("quiet {}", 1);
  info("said {}", 2);
  warn("careful {}", 3);
  error("broken {}", 4);
  const std::string seen = testing::internal::GetCapturedStderr();
  EXPECT_EQ(seen, "said 2\nwarning: careful 3\nerror: broken 4\n");
  const std::string text = read_file(path);
  for (const char* part : {" rollout-3 debug: quiet 1", " info: said 2", " warning: careful 3", " error: broken 4"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " not in\n" << text;
  }
  open_log("", "");
  remove_all(path);
}

TEST(Log, QuietShowsOnlyTrouble) {
  open_log("reward", "", true);
  testing::internal::CaptureStderr();
  info("chatter");
  warn("trouble");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: trouble\n");
  open_log("", "");
}

TEST(Log, UnwritablePathIsAnErrorThatNamesIt) {
  try {
    open_log("x", "/proc/no/such/log");
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("/proc/no/such/log"), std::string::npos);
  }
}

TEST(Progress, DurationsReadAsPeopleSayThem) {
  EXPECT_EQ(format_duration(0.04), "0.0 s");
  EXPECT_EQ(format_duration(9.96), "10 s");
  EXPECT_EQ(format_duration(59.6), "1 min 00 s");
  EXPECT_EQ(format_duration(200), "3 min 20 s");
  EXPECT_EQ(format_duration(3900), "1 h 05 min");
}

TEST(Progress, CountsAreShortened) {
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(0.25), "0.2");
  EXPECT_EQ(format_count(12345), "12.3 k");
  EXPECT_EQ(format_count(999999), "1.0 M");
  EXPECT_EQ(format_count(4.1e6), "4.1 M");
}

// Not a terminal here: no control characters, and a short job says nothing unless it has something to say.
TEST(Progress, PlainOutputHasNoControlCharacters) {
  testing::internal::CaptureStderr();
  {
    Progress silent("short job", 10);
    silent.update(10);
  }
  Progress spoken("sft", 10);
  spoken.update(5);
  spoken.finish("loss 0.5");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_EQ(text, "sft: loss 0.5, 0.0 s\n");
}

}  // namespace
}  // namespace fulmen::base
