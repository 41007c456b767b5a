#include "reward/logic.h"

#include <gtest/gtest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "reward/registry.h"
#include "shared/task/records.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

Verdict verdict(const std::string& kind, const Json& puzzle, const std::string& truth, const std::string& response) {
  const auto logic = make_logic();
  Record r;
  r.data_source = "logic/" + kind;
  r.ground_truth = truth;
  r.extra_info = Json{{"puzzle", puzzle}}.dump();
  r.response = response;
  return logic->score(r);
}

const Json k24 = {{"numbers", {3, 3, 4, 7}}, {"operators", "+-*/"}, {"target", 24}};

TEST(Logic, GeneratedRecordsScoreOneForTheirGold) {
  for (const task::Task* t : task::all_tasks()) {
    const task::Draw draw{1, false, 0, 2, 2};
    const task::Problem p = task::make_problem(*t, draw);
    Record r;
    r.data_source = task::data_source_of(*t);
    r.ground_truth = p.answer;
    r.extra_info = task::extra_info_of(draw, p).dump();
    r.response = p.worked;
    const Verdict v = make_logic()->score(r);
    EXPECT_EQ(v.kind, Kind::kScore) << t->name << ": " << v.detail;
    EXPECT_EQ(v.score, 1) << t->name << ": " << v.detail;
    if (r.data_source != "arithmetic") {
      EXPECT_EQ(function_of_kind("", r.data_source), "logic");
    }
  }
}

TEST(Logic, WrongAnswersScoreZeroAndMissingOnesAreUnparsable) {
  EXPECT_EQ(verdict("game_of_24", k24, "", "<answer>(7-3+4)*3</answer>").score, 1);
  const Verdict wrong_value = verdict("game_of_24", k24, "", "<answer>3+3+4+7</answer>");
  EXPECT_EQ(wrong_value.kind, Kind::kScore);
  EXPECT_EQ(wrong_value.score, 0);
  EXPECT_EQ(wrong_value.detail, "its value is 17");
  EXPECT_EQ(verdict("game_of_24", k24, "", "(7-3+4)*3").kind, Kind::kUnparsable);
}

TEST(Logic, RecordsWithoutAPuzzleAreErrors) {
  EXPECT_EQ(verdict("game_of_24", Json::object(), "", "<answer>1</answer>").kind, Kind::kError);
  EXPECT_EQ(verdict("no_such_kind", k24, "", "<answer>1</answer>").kind, Kind::kError);
  EXPECT_EQ(verdict("game_of_24", Json::array(), "", "<answer>1</answer>").kind, Kind::kError);
  Record r;
  r.data_source = "logic/sudoku";
  for (const char* extra : {"", "{oops", "[]", "{}", "{\"puzzle\":{\"grid\":{}}}"}) {
    r.extra_info = extra;
    r.response = "<answer>1</answer>";
    EXPECT_EQ(make_logic()->score(r).kind, Kind::kError) << extra;
  }
}

TEST(Logic, SynLogicRecordsAreTakenOver) {
  Record r;
  r.kind = "game_of_24";
  r.extra_info = R"({"metadata":{"numbers":[3,3,4,7],"operators":["+","-","*","/"],"result":24,"solutions":[]}})";
  r.response = "<answer>(7-3+4)*3</answer>";
  EXPECT_EQ(make_logic()->score(r).score, 1);
  r.response = "<answer>3+3+4+7</answer>";
  EXPECT_EQ(make_logic()->score(r).score, 0);
  EXPECT_EQ(function_of_kind("game_of_24", ""), "logic");
}

// Holes of public verifiers, each as it was found and in the form asked for here; none may earn anything.
TEST(Logic, ExploitsOfPublicVerifiersEarnNothing) {
  const Json countdown = {{"numbers", {1, 5, 16}}, {"operators", "+-*/"}, {"target", 24}};
  const Json two = {{"numbers", {2, 4}}, {"operators", "+-*/"}, {"target", 24}};
  const Json grid = {{"grid", {{0, 2, 3, 4}, {3, 4, 1, 2}, {2, 1, 4, 3}, {4, 3, 2, 1}}}};
  struct Case {
    const char *kind, *truth;
    Json puzzle;
    const char* response;
  };
  const std::vector<Case> cases{
      {"game_of_24", "", k24, "```python\n3+3+4+7\n```"},
      {"game_of_24", "", k24, "<answer>3+3+4+7</answer>"},
      {"game_of_24", "", k24, "<answer>24</answer>"},
      {"game_of_24", "", k24, "<answer>result</answer>"},
      {"game_of_24", "", k24, "<answer>3+3+4+7 = 24</answer>"},
      {"game_of_24", "", k24, "<answer>(7-3+4)*3 #</answer>"},
      {"game_of_24", "", k24, "<answer>(7-3+4)*3+0*9</answer>"},
      {"goods_exchange", "Ada: red book", Json::object(), "```python\n__import__('os').system('id')\n```"},
      {"goods_exchange", "Ada: red book", Json::object(), "<answer>__import__('os').system('id')</answer>"},
      {"goods_exchange", "Ada: red book", Json::object(), "<answer>Ada: red book\nAda: blue cup</answer>"},
      {"cipher", "A", Json::object(), "<think>x</think><answer>A</answer> wait <answer>B</answer>"},
      {"cipher", "A", Json::object(), "<answer>B</answer> wait <answer>A</answer>"},
      {"game_of_24", "", countdown, "Assistant: <answer>1.5*16</answer>"},
      {"game_of_24", "", countdown, "<answer>1 5*16</answer>"},
      {"game_of_24", "", two, "Assistant: <answer>24</answer>"},
      {"game_of_24", "", {{"numbers", {1, 2, 49}}, {"operators", "+-*/"}, {"target", 24}}, "<answer>49//2*1</answer>"},
      {"game_of_24", "", {{"numbers", {2, 3}}, {"operators", "+-*/"}, {"target", 8}}, "<answer>2**3</answer>"},
      {"object_counting", "5", Json::object(), "5 6"},
      {"object_counting", "5", Json::object(), "<answer>5 6</answer>"},
      {"object_counting", "5", Json::object(), "<answer>4 or 5</answer>"},
      {"object_counting", "5", Json::object(), "<answer>5.0</answer>"},
      {"game_of_24", "", k24, "<answer>9**9**9**9</answer>"},
      {"sudoku", "", grid, "<answer>[[True,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]</answer>"},
      {"sudoku", "", grid, "<answer>[[...,2,3,4],[3,4,1,2],[2,1,4,3],[4,3,2,1]]</answer>"},
      {"sudoku", "", grid, "<answer>1.0 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1</answer>"},
      {"goods_exchange", "a: 1", Json::object(), "<answer>{\"a\":1,\"a\":2}</answer>"},
      {"goods_exchange", "a: 2", Json::object(), "<answer>{\"a\":1,\"a\":2}</answer>"},
      {"boolean_expressions", "A, C", Json::object(), "<answer>A, B, C, D</answer>"},
      {"boolean_expressions", "A, C", Json::object(), "<answer>A, A, C</answer>"},
      {"web_of_lies", "yes, no", Json::object(), "<answer>yes/no, yes/no</answer>"},
  };
  for (const Case& c : cases) {
    const auto start = std::chrono::steady_clock::now();
    const Verdict v = verdict(c.kind, c.puzzle, c.truth, c.response);
    EXPECT_EQ(v.score, 0) << c.kind << ": " << c.response;
    EXPECT_NE(v.kind, Kind::kError) << v.detail;
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1)) << c.response;
  }
  EXPECT_EQ(verdict("sudoku", grid, "", "<answer>1234\n3412\n2143\n4321</answer>").score, 1);
}

TEST(Logic, HugeResponsesAreJudgedQuickly) {
  std::string open, numbers = "<answer>", nested = "<answer>";
  for (int i = 0; i < 100000; ++i) open += "<answer>", numbers += "1 ", nested += "(";
  for (const std::string& response : {open, numbers + "</answer>", nested + "</answer>", std::string(4000000, 'a')})
    EXPECT_EQ(verdict("game_of_24", k24, "", response).kind, Kind::kUnparsable);
}

}  // namespace
}  // namespace fulmen::reward
