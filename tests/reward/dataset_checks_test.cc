#include "reward/dataset_checks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

class DatasetChecksTest : public testing::Test {
 protected:
  DatasetChecksTest() : dir_(testing::TempDir() + "/dataset_checks." + std::to_string(getpid())) {
    std::filesystem::create_directories(dir_ + "/episodes");
  }
  ~DatasetChecksTest() override { std::filesystem::remove_all(dir_); }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name) << text;
    return dir_ + "/" + name;
  }
  std::string dir_;
};

TEST_F(DatasetChecksTest, GroundTruthsThatAreNotTheirOwnAnswerAreListed) {
  auto f = make_reward({"math"});
  std::ostringstream out;
  const TruthCounts counts = check_truths(
      write("d.jsonl",
            "{\"question\":\"q\",\"answer\":\"worked out\\n#### 72\"}\n\n{\"ground_truth\":\"\\\\frac{1}{2}\"}\n"
            "{\"reward_model\":{\"ground_truth\":\"\"}}\n{\"prompt\":\"none\"}\n"),
      *f, out);
  EXPECT_EQ(counts.records, 4u);
  EXPECT_EQ(counts.refused, 2u) << out.str();
  EXPECT_NE(out.str().find("d.jsonl:4: "), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("d.jsonl:5: error: no \"ground_truth\""), std::string::npos) << out.str();
  EXPECT_THROW(check_truths(write("bad.jsonl", "{"), *f, out), Error);
  EXPECT_THROW(check_truths(dir_ + "/absent", *f, out), Error);
}

TEST_F(DatasetChecksTest, DiffShowsWhatANewFunctionWouldChange) {
  write("episodes/step_1.jsonl",
        "{\"completion\":\"#### 1\",\"ground_truth\":\"1\",\"score\":1.0,\"verdict\":\"score\"}\n"
        "{\"completion\":\"<think>a</think>#### 2\",\"ground_truth\":\"1\",\"score\":0.25,\"verdict\":\"score\"}\n"
        "{\"completion\":\"\",\"ground_truth\":\"1\",\"score\":null,\"verdict\":\"aborted\"}\n");
  auto math = make_reward({"math"}), format = make_reward({"format"});
  std::ostringstream out;
  DiffCounts counts = diff_verdicts(dir_, math.get(), *math, 5, out);
  EXPECT_EQ(counts.records, 2u);
  EXPECT_EQ(counts.changed, 0u) << out.str();
  counts = diff_verdicts(dir_, nullptr, *math, 5, out);
  EXPECT_EQ(counts.changed, 1u) << "the recorded 0.25 is 0 now";
  std::ostringstream table;
  counts = diff_verdicts(dir_, math.get(), *format, 1, table);
  EXPECT_EQ(counts.changed, 2u);
  EXPECT_NE(table.str().find("step_1.jsonl:1: score 1 -> score 0"), std::string::npos) << table.str();
  EXPECT_EQ(table.str().find("step_1.jsonl:2:"), std::string::npos) << "only so many are shown";
  EXPECT_NE(table.str().find("2 of 2 verdicts change"), std::string::npos);
  EXPECT_THROW(diff_verdicts(dir_ + "/episodes", nullptr, *math, 1, out), Error);
}

}  // namespace
}  // namespace fulmen::reward
