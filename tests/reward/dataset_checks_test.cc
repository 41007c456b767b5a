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

TEST_F(DatasetChecksTest, MathTruthsThatCannotBeReadAreListedByLine) {
  auto f = make_reward({"math"});
  std::ostringstream out;
  const TruthCounts counts = check_truths(
      write("d.jsonl",
            "{\"question\":\"q\",\"answer\":\"worked out\\n#### 72\"}\n\n{\"ground_truth\":\"\\\\frac{1}{2}\"}\n"
            "{\"reward_model\":{\"ground_truth\":\"\"}}\n{\"prompt\":\"none\"}\n{\n[1]\n{\"answer\":\"3 + * 4\"}\n"),
      *f, out);
  EXPECT_EQ(counts.records, 7u);
  EXPECT_EQ(counts.refused, 5u) << out.str();
  for (const char* line : {"d.jsonl:4: ground_truth \"\": ", "d.jsonl:5: no \"ground_truth\"", "d.jsonl:6: not JSON",
                           "d.jsonl:7: got array", "d.jsonl:8: ground_truth \"3 + * 4\": "})
    EXPECT_NE(out.str().find(line), std::string::npos) << line << " in\n" << out.str();
  EXPECT_NE(out.str().find("5 of 7 ground truths cannot be used by math-"), std::string::npos) << out.str();
  EXPECT_THROW(check_truths(write("empty.jsonl", "\n"), *f, out), Error) << "nothing was checked";
  EXPECT_THROW(check_truths(dir_ + "/absent", *f, out), Error);
}

TEST_F(DatasetChecksTest, ARecordsOwnKindAndProfileAreAsked) {
  auto f = make_reward({"auto"});
  std::ostringstream out;
  const TruthCounts counts = check_truths(
      write("d.jsonl",
            "{\"kind\":\"math\",\"ground_truth\":\"10\\\\%\"}\n{\"kind\":\"maths\",\"ground_truth\":\"1\"}\n"
            "{\"kind\":\"math\",\"ground_truth\":\"1\",\"extra_info\":{\"profile\":\"strikt\"}}\n"
            "{\"kind\":\"format\"}\n"),
      *f, out);
  EXPECT_EQ(counts.refused, 2u) << out.str();
  EXPECT_NE(out.str().find("d.jsonl:2: unknown kind maths, did you mean math"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("did you mean strict"), std::string::npos) << out.str();
}

TEST_F(DatasetChecksTest, ProgramsNeedTestsThatCompileAndThatNothingDoesNotPass) {
  auto f = make_reward({"code"});
  std::ostringstream out;
  const TruthCounts counts = check_truths(
      write("d.jsonl",
            "{\"test_list\":[\"assert f(1) == 2\"]}\n{\"prompt\":\"no tests\"}\n{\"tests\":[]}\n"
            "{\"test_list\":[\"assert (\"]}\n{\"test_list\":[\"assert 1 == 1\"]}\n{\"tests\":[{\"input\":\"1\"}]}\n"
            "{\"tests\":[{\"input\":\"1\",\"output\":\"2\"}]}\n{\"tests\":[{\"input\":\"1\",\"output\":\"\"}]}\n"
            "{\"tests\":[{\"input\":\"1\",\"output\":\"2\"}],\"language\":\"c++\"}\n"),
      *f, out);
  EXPECT_EQ(counts.records, 9u);
  EXPECT_EQ(counts.refused, 6u) << out.str();
  for (const char* line :
       {"d.jsonl:2: no tests", "d.jsonl:3: no tests", "d.jsonl:4: ", "d.jsonl:5: a program that does nothing passes",
        "d.jsonl:6: tests: an item lacks input or output", "d.jsonl:8: a program that does nothing passes"})
    EXPECT_NE(out.str().find(line), std::string::npos) << line << " in\n" << out.str();
}

TEST_F(DatasetChecksTest, PuzzlesMustBeOnesAndTheirGoldMustFollowTheRules) {
  auto f = make_reward({"logic"});
  std::ostringstream out;
  const std::string puzzle =
      "\"data_source\":\"logic/game_of_24\",\"extra_info\":{\"puzzle\":{\"numbers\":[4,6,1,1],"
      "\"target\":24,\"operators\":\"+-*/\"}}}\n";
  const TruthCounts counts = check_truths(
      write("d.jsonl", "{\"ground_truth\":\"4*6*1*1\"," + puzzle + "{" + puzzle + "{\"ground_truth\":\"4*6\"," +
                           puzzle + "{\"data_source\":\"logic/game_of_24\",\"ground_truth\":\"1\"}\n"),
      *f, out);
  EXPECT_EQ(counts.refused, 2u) << out.str();
  EXPECT_NE(out.str().find("d.jsonl:3: the ground truth is not a right answer"), std::string::npos) << out.str();
  EXPECT_NE(out.str().find("d.jsonl:4: extra_info: want"), std::string::npos) << out.str();
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
