#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "reward/final_answer.h"
#include "reward/functions.h"

namespace fulmen::reward {
namespace {

Verdict judge(const std::string& response, const std::string& ground_truth) {
  Record r;
  r.response = response;
  r.ground_truth = ground_truth;
  return make_reward({"math"})->score(r);
}

bool right(const std::string& response, const std::string& ground_truth) {
  Verdict v = judge(response, ground_truth);
  EXPECT_TRUE(v.kind == Kind::kScore) << response << ": " << v.detail;
  EXPECT_TRUE(v.score == 0 || v.score == 1);
  EXPECT_EQ(v.score == 1, v.detail.empty()) << "a wrong answer says why";
  return v.score == 1;
}

TEST(MathAnswer, FindsTheAnswerInBothForms) {
  EXPECT_TRUE(right("so #### 1,234", "1234"));
  EXPECT_TRUE(right("work\n#### 42\n", "42"));
  EXPECT_TRUE(right("#### $42.00 dollars.", "42"));
  EXPECT_TRUE(right("####42", "42"));
  EXPECT_TRUE(right("thus $\\boxed{42}$.", "42"));
  EXPECT_TRUE(right("\\boxed {42}", "42"));
  EXPECT_TRUE(right("$\\fbox{34}$", "34"));
  EXPECT_TRUE(right("\\boxed{\\boxed{34}}", "34"));
  EXPECT_TRUE(right("\\boxed{\\frac{1}{2}}", "0.5"));
  EXPECT_TRUE(right("#### \\boxed{34}", "34"));
  EXPECT_TRUE(right("**Final**: #### **34**", "34"));
  EXPECT_FALSE(right("#### 43", "42"));
  EXPECT_FALSE(right("#### 42", "42\\%"));
}

TEST(MathAnswer, TheLastAnswerCounts) {
  EXPECT_TRUE(right("First \\boxed{35}. That was wrong, so \\boxed{34}", "34"));
  EXPECT_FALSE(right("First \\boxed{34}. Actually no: \\boxed{35}", "34"));
  EXPECT_FALSE(right("#### 34\n#### 35", "34"));
  EXPECT_TRUE(right("So \\boxed{34}. Final: \\boxed{34}", "34"));
  EXPECT_TRUE(right("#### Step one\n1+1=2\n#### Answer\n\\boxed{2}", "2"));
  EXPECT_TRUE(right("\\boxed{3} is one more than\n\n#### 2", "2"));
  EXPECT_TRUE(right("#### 5 and then more\n##### 6\n#### 7", "7"));
}

TEST(MathAnswer, HedgingDoesNotPass) {
  for (const char* response :
       {"\\boxed{33} or \\boxed{34}", "\\boxed{33}, \\boxed{34}", "$\\boxed{33}$ and maybe $\\boxed{34}$",
        "#### 33\n#### 34", "#### 33 or 34", "#### 34 or 33", "#### 33 #### 34", "\\boxed{33 \\text{ or } 34}",
        "\\boxed{34} or 35", "The answer is \\boxed{32, 33, 34, 35}", "$\\boxed{\\{33,34,35\\}}$",
        "$\\boxed{x \\ge 34}$", "$\\boxed{1-100}$", "$\\boxed{33 = 34 = 35}$", "\\boxed{17*2=34}",
        "\\boxed{34}\n#### 33"}) {
    EXPECT_FALSE(right(response, "34")) << response;
  }
}

TEST(MathAnswer, NoAnswerIsUnparsableAndSaysWhatWasLookedFor) {
  for (const char* response :
       {"", "34", "the answer is 34", "... \\boxed{34", "##### 34", "### 34", "#### none", "\\boxed 34"}) {
    Verdict v = judge(response, "34");
    EXPECT_TRUE(v.kind == Kind::kUnparsable) << response;
    EXPECT_NE(v.detail.find("####"), std::string::npos);
    EXPECT_NE(v.detail.find("\\boxed"), std::string::npos);
  }
}

TEST(MathAnswer, ReasoningIsCutBeforeAnAnswerIsLookedFor) {
  EXPECT_TRUE(judge("<think>\\boxed{34}</think> I do not know", "34").kind == Kind::kUnparsable);
  EXPECT_TRUE(judge("<think> \\boxed{34}", "34").kind == Kind::kUnparsable);
  EXPECT_TRUE(judge("<think>a</think><think>\\boxed{34}", "34").kind == Kind::kUnparsable);
  EXPECT_TRUE(right("<think>\\boxed{33}</think>\\boxed{34}", "34"));
  EXPECT_TRUE(right("was opened in the prompt \\boxed{33}</think>#### 34", "34"));
}

TEST(MathAnswer, GroundTruthThatIsNoNumberIsAnErrorNamingIt) {
  Verdict v = judge("#### 1", "thirty-four");
  EXPECT_TRUE(v.kind == Kind::kError);
  EXPECT_NE(v.detail.find("thirty-four"), std::string::npos);
  EXPECT_TRUE(judge("#### 1", "").kind == Kind::kError);
  EXPECT_TRUE(right("#### 18", "She sells 9.\n9*2 = 18\n#### 18"));
}

TEST(MathAnswer, TimeIsLinearInTheLengthOfTheText) {
  auto many = [](const std::string& s, int n) {
    std::string text;
    for (int i = 0; i < n; i++) text += s;
    return text;
  };
  auto start = std::chrono::steady_clock::now();
  for (const std::string& response :
       {many("\\boxed{", 200000), many("\\boxed{", 100000) + many("}", 100000), many("\\boxed{34}", 100000),
        many("{", 1000000), many("#### ", 200000), many("#### 3\n", 100000), many("<think>", 100000),
        many("\\", 1000000), many(" ", 1000000), "\\boxed{" + many("(", 200000) + "}",
        "\\boxed{" + many("1+", 200000) + "1}"}) {
    judge(response, "34");
  }
  double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(seconds, 5);  // a quadratic scan takes minutes
}

std::vector<nlohmann::json> golden(const std::string& name) {
  std::filesystem::path file = std::filesystem::path(FULMEN_SOURCE_DIR) / "tests" / "golden" / "gsm8k" / name;
  std::ifstream in(file);
  EXPECT_TRUE(in.good()) << file;
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(in, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

TEST(MathAnswer, AgreesWithThePublishedLabelsOfGsm8k) {
  size_t rows = 0, correct = 0;
  for (const auto& row : golden("answers.jsonl")) {
    std::string answer = row["answer"], truth = row["ground_truth"];
    bool want = row["correct"];
    EXPECT_EQ(judge("#### " + answer, truth).score == 1, want) << answer << " for " << truth;
    EXPECT_EQ(judge("\\boxed{" + answer + "}", truth).score == 1, want) << answer << " for " << truth;
    rows++;
    correct += want;
  }
  for (const auto& row : golden("solutions.jsonl")) {
    std::string text = row["response"];
    size_t mark = text.rfind("A: ");
    if (mark != std::string::npos) text.replace(mark, 3, "#### ");
    bool want = row["correct"];
    EXPECT_EQ(judge(text, row["ground_truth"]).score == 1, want) << text;
    rows++;
    correct += want;
  }
  EXPECT_EQ(rows, 55u);
  EXPECT_GT(correct, 15u);
  EXPECT_LT(correct, 40u);
}

}  // namespace
}  // namespace fulmen::reward
