// The files of reward/examples/, run as their users would.
#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/error.h"
#include "reward/reward.h"

namespace fulmen::reward {
namespace {

const std::string kExamples = std::string(FULMEN_SOURCE_DIR) + "/reward/examples/";

Record record(const std::string& response, const std::string& truth = "42") {
  Record r;
  r.prompt = "6*7?";
  r.response = response;
  r.ground_truth = truth;
  r.extra_info = R"({"difficulty": 2, "index": 3})";
  return r;
}

double number(const Verdict& v, const std::string& name) {
  for (const auto& [n, value] : v.components)
    if (n == name) return value;
  ADD_FAILURE() << "no " << name;
  return 0;
}

TEST(Examples, FiveLinesOfPython) {
  auto f = make_reward({"python:" + kExamples + "five_lines.py:reward"});
  EXPECT_EQ(f->score(record("so\nit is 42\n")).score, 1);
  EXPECT_EQ(f->score(record("42\nor not")).score, 0);
}

TEST(Examples, RewardFileOfVerlUnchanged) {
  auto f = make_reward({"python:" + kExamples + "verl_reward.py:compute_score"});
  const Verdict v = f->score(record("#### 41 no #### 42"));
  EXPECT_EQ(v.score, 1) << v.detail;
  EXPECT_EQ(number(v, "answers_found"), 2);
}

TEST(Examples, RewardFunctionsOfTrlUnchangedInBatches) {
  auto f = make_reward({"python:" + kExamples + "trl_rewards.py:accuracy_reward"});
  EXPECT_EQ(f->batch(), 64u);
  Record talk = record("\\boxed{42}");
  talk.prompt = R"([{"role": "user", "content": "6*7?"}])";
  const std::vector<Record> records{record("\\boxed{42}"), record("\\boxed{41}"), talk, record("x", "")};
  const auto v = f->score_all(records);
  EXPECT_EQ(v[0].score, 1) << v[0].detail;
  EXPECT_EQ(v[1].score, 0);
  EXPECT_EQ(v[2].score, 1) << "messages for who has messages: " << v[2].detail;
  EXPECT_TRUE(v[3].kind == Kind::kUndecided) << "None says nothing";
  auto slow = make_reward({"python:" + kExamples + "trl_rewards.py:slow_reward"});
  EXPECT_EQ(slow->score_all(std::vector<Record>(40, record("12345678")))[39].score, 0.04);
}

TEST(Examples, RewardFileOfOpenRlhfUnchanged) {
  auto f = make_reward({"python:" + kExamples + "openrlhf_reward.py:reward_func"});
  const std::vector<Record> records{record(" 42"), record(" 41")};
  const auto v = f->score_all(records);
  EXPECT_EQ(v[0].score, 1) << v[0].detail;
  EXPECT_EQ(v[1].score, -1);
  EXPECT_EQ(number(v[1], "length"), 7);
}

TEST(Examples, AnyProgramThatSpeaksJsonLines) {
  auto f = make_reward({"command:" + kExamples + "json_lines.sh"});
  const Verdict v = f->score(record("12345"));
  EXPECT_EQ(v.score, 5) << v.detail;
  EXPECT_EQ(v.detail, "counted");
}

TEST(Examples, LibraryInCpp) {
  auto f = make_reward({std::string("c:") + FULMEN_EXAMPLE_LIBRARY});
  EXPECT_EQ(f->batch(), 64u);
  const std::vector<Record> records{record("it is 42"), record("it is 41")};
  const auto v = f->score_all(records);
  EXPECT_EQ(v[0].score, 1) << v[0].detail;
  EXPECT_EQ(number(v[0], "before"), 6);
  EXPECT_EQ(v[1].score, 0);
  EXPECT_EQ(v[1].detail, "does not end in the answer");
  Record none = record("x");
  none.has_truth = false;
  EXPECT_TRUE(f->score(none).kind == Kind::kError);
}

TEST(Examples, ALibraryThatIsNoneIsRefusedByName) {
  try {
    make_reward({std::string("c:") + FULMEN_OTHER_LIBRARY});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("fulmen_reward_library"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fulmen::reward
