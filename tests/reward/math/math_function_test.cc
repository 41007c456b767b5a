#include "reward/math/math_function.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/functions.h"
#include "reward/math/answer_text.h"

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
  EXPECT_FALSE(v.detail.empty()) << "a verdict says what was compared";
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
  EXPECT_TRUE(right("\\\\boxed{\\\\frac{1}{2}}", "0.5"));
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
       {"", "34", "it is 34", "... \\boxed{34", "##### 34", "### 34", "#### none", "\\boxed 34", "<answer>34"}) {
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

TEST(MathAnswer, AnAnnouncedAnswerAndATagCountWhereNothingElseIsMarked) {
  EXPECT_TRUE(right("Well. The answer is 34.", "34"));
  EXPECT_TRUE(right("**Final Answer:** $\\frac{1}{2}$. That was easy.", "0.5"));
  EXPECT_TRUE(right("The answer is (B).", "B"));
  EXPECT_TRUE(right("<answer> 34 </answer>", "34"));
  EXPECT_TRUE(right("<answer>\\boxed{34}</answer>", "34"));
  EXPECT_FALSE(right("The answer is 34 or maybe 35.", "34"));
  EXPECT_FALSE(right("The answer is 34. \\boxed{35}", "34"));
  EXPECT_FALSE(right("<answer>34</answer> <answer>35</answer>", "34"));
}

TEST(MathAnswer, SeveralBoxesAreOneListWhereAListIsWanted) {
  EXPECT_TRUE(right("$x=\\boxed{1}$ or $\\boxed{2}$", "1, 2"));
  EXPECT_TRUE(right("\\boxed{2} and \\boxed{1}", "\\{1,2\\}"));
  EXPECT_FALSE(right("\\boxed{1}, \\boxed{2} and \\boxed{3}", "1,2"));
  EXPECT_FALSE(right("\\boxed{1}", "1,2"));
}

TEST(MathAnswer, AGroundTruthThatIsNotUnderstoodIsUnparsableThroughNoFaultOfTheResponse) {
  for (const char* gold : {"", " ", "3 + * 4", "\\frac{1}", "1/(2"}) {
    Verdict v = judge("#### 1", gold);
    EXPECT_TRUE(v.kind == Kind::kUnparsable && v.truth_at_fault) << gold;
    EXPECT_EQ(v.detail.rfind("ground_truth \"" + std::string(gold), 0), 0u) << v.detail;
    std::string why;
    EXPECT_FALSE(math::gold_is_parsable(gold, "", why));
    EXPECT_FALSE(why.empty());
  }
  std::string why;
  EXPECT_TRUE(math::gold_is_parsable("She sells 9.\n9*2 = 18\n#### 18", "", why));
  EXPECT_TRUE(right("#### 18", "She sells 9.\n9*2 = 18\n#### 18"));
}

TEST(MathAnswer, ProfilesAreNamedAndARecordMayChooseItsOwn) {
  try {
    math::make_math("hendricks");
    FAIL() << "an unknown profile was taken";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean hendrycks"), std::string::npos) << e.what();
  }
  Record r;
  r.response = "\\boxed{10}";
  r.ground_truth = "10\\%";
  EXPECT_EQ(math::make_math("")->score(r).score, 0);
  EXPECT_EQ(math::make_math("hendrycks")->score(r).score, 1);
  r.extra_info = R"({"profile":"hendrycks"})";
  EXPECT_EQ(math::make_math("")->score(r).score, 1);
  EXPECT_NE(math::make_math("")->version(), math::make_math("hendrycks")->version());
}

TEST(MathAnswer, UnmarkedAnswersCountOnlyWhereTheProfileLooksForThem) {
  auto under = [](const char* profile, const char* response, const char* gold) {
    Record r;
    r.response = response;
    r.ground_truth = gold;
    return math::make_math(profile)->score(r).score == 1;
  };
  for (const char* response : {"it is $\\frac12$, clearly", "so 0.5", "\\(1/2\\)", "1/2"}) {
    EXPECT_TRUE(under("math-verify", response, "$\\frac{1}{2}$")) << response;
    EXPECT_FALSE(under("", response, "\\frac{1}{2}")) << response;
  }
  EXPECT_FALSE(under("math-verify", "34 is too much, so 35", "34"));
  EXPECT_TRUE(under("hendrycks", "\\tfrac12 +\\! x", "\\frac{1}{2}+x"));
  EXPECT_FALSE(under("hendrycks", "maybe 34", "34"));
}

TEST(MathAnswer, TimeIsLinearInTheLengthOfTheText) {
  auto many = [](const std::string& s, int n) {
    std::string text;
    for (int i = 0; i < n; i++) text += s;
    return text;
  };
  const std::clock_t start = std::clock();
  for (const std::string& response : {many("\\boxed{", 200000),
                                      many("\\boxed{", 100000) + many("}", 100000),
                                      many("\\boxed{34}", 100000),
                                      many("{", 1000000),
                                      many("#### ", 200000),
                                      many("#### 3\n", 100000),
                                      many("<think>", 100000),
                                      many("\\", 1000000),
                                      many(" ", 1000000),
                                      many("\\(", 200000),
                                      many("\\[", 200000),
                                      many("$", 300001),
                                      many("$\n", 200001),
                                      many("answer ", 200000),
                                      many("answer is ", 100000),
                                      many("<answer>", 100000),
                                      many("final answer ", 100000),
                                      many("Final Answer\n", 100000),
                                      many("\xe7\xad\x94\xe6\xa1\x88", 200000),
                                      "\\boxed{" + many("(", 200000) + "}",
                                      "\\boxed{" + many("1+", 200000) + "1}"}) {
    judge(response, "34");
    Record r;
    r.response = response;
    r.ground_truth = "34";
    math::make_math("math-verify")->score(r);
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 60);  // a quadratic scan takes minutes; with a sanitizer on a busy machine this takes 7
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
