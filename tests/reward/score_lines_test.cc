#include "reward/score_lines.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

using nlohmann::json;

std::vector<json> score(const std::string& input, const std::vector<std::string>& functions = {"math"}) {
  auto function = make_reward(functions, {.deadline_ms = 1000});
  std::istringstream in(input);
  std::ostringstream out;
  score_lines(in, out, *function);
  std::vector<json> lines;
  std::istringstream read(out.str());
  for (std::string line; std::getline(read, line);) lines.push_back(json::parse(line));
  return lines;
}

TEST(ScoreLines, OneRecordGivesOneVerdict) {
  auto v = score(R"({"id":1,"data_source":"gsm8k","response":"so #### 1,234","ground_truth":"1234"})");
  ASSERT_EQ(v.size(), 1u);
  EXPECT_EQ(v[0]["id"], 1);
  EXPECT_EQ(v[0]["verdict"], "score");
  EXPECT_EQ(v[0]["score"], 1.0);
  EXPECT_EQ(v[0]["components"], json({{"math", 1.0}}));
  EXPECT_TRUE(v[0]["ms"].is_number());
}

TEST(ScoreLines, OrderAndIdsAreKeptVerbatim) {
  std::string input;
  for (const char* id : {"7", "\"seven\"", "null", "1.5", "true"}) {
    input += std::string(R"({"response":"#### 1","ground_truth":1,"id":)") + id + "}\n";
  }
  auto v = score(input);
  ASSERT_EQ(v.size(), 5u);
  EXPECT_EQ(v[0]["id"], 7);
  EXPECT_EQ(v[1]["id"], "seven");
  EXPECT_EQ(v[2]["id"], json());
  EXPECT_EQ(v[3]["id"], 1.5);
  EXPECT_EQ(v[4]["id"], true);
  for (const auto& line : v) EXPECT_EQ(line["score"], 1.0);
}

TEST(ScoreLines, RecordMayHaveTheShapeOfVerl) {
  auto v = score(
      R"({"data_source":"openai/gsm8k","prompt":[{"role":"user","content":"6*7?"}],"ability":"math",)"
      R"("reward_model":{"style":"rule","ground_truth":"42"},"extra_info":{"index":0},"solution_str":"#### 42"})");
  EXPECT_EQ(v.at(0)["score"], 1.0) << v[0];
}

TEST(ScoreLines, BadLineIsAnErrorNamingItAndTheNextIsScored) {
  auto v = score(
      "{\"id\":1,\n\n[1]\n{\"id\":5,\"response\":\"#### 1\"}\n{\"id\":6,\"response\":\"x\",\"ground_truth\":\"1\"}\n" +
      std::string(100000, '[') + "\n{\"id\":8,\"response\":\"#### 1\",\"ground_truth\":\"1\"}");
  ASSERT_EQ(v.size(), 6u);
  auto expect_error = [&](size_t i, const std::string& part) {
    EXPECT_EQ(v[i]["verdict"], "error");
    EXPECT_TRUE(v[i]["score"].is_null());
    EXPECT_NE(v[i]["detail"].get<std::string>().find(part), std::string::npos) << v[i];
  };
  expect_error(0, "line 1: not JSON");
  expect_error(1, "line 3: got array");
  expect_error(2, "no \"ground_truth\"");
  EXPECT_EQ(v[2]["id"], 5);
  EXPECT_EQ(v[3]["verdict"], "unparsable");
  EXPECT_TRUE(v[3]["score"].is_null()) << "never a silent 0";
  expect_error(4, "line 6");
  EXPECT_EQ(v[5]["score"], 1.0);
}

TEST(ScoreLines, MutatedInputGivesOneVerdictALine) {
  const std::string seed =
      R"({"id":1,"data_source":"gsm8k","prompt":"p","response":"\\boxed{\\frac{1}{2}} #### 1,234\u00bd",)"
      R"("ground_truth":"1234","extra_info":{"a":[1,2.5e3,null,"\ud83d\ude00"]}})";
  std::mt19937 g(2);
  std::string input;
  size_t lines = 0;
  for (int i = 0; i < 5000; i++) {
    std::string s = seed;
    for (uint32_t edits = 1 + g() % 4; edits > 0; edits--) {
      size_t at = g() % s.size();
      switch (g() % 3) {
        case 0:
          s[at] = static_cast<char>(g());
          break;
        case 1:
          s.erase(at, 1 + g() % 10);
          break;
        default:
          s.insert(at, s.substr(g() % s.size(), g() % 20));
      }
      if (s.empty()) s = "{";
    }
    for (char& c : s) {
      if (c == '\n') c = ' ';
    }
    if (s.find_first_not_of(" \t\r") == std::string::npos) continue;
    input += s + "\n";
    lines++;
  }
  auto v = score(input);  // every line of output parses, or this throws
  ASSERT_EQ(v.size(), lines);
  size_t scored = 0;
  for (const auto& line : v) scored += line["verdict"] == "score";
  EXPECT_GT(scored, 300u);
  EXPECT_LT(scored, lines);
}

TEST(MakeReward, SeveralFunctionsGiveTheWeightedSum) {
  auto v = score(R"({"response":"#### 42\nbecause","ground_truth":"42"})"
                 "\n"
                 R"({"response":"#### 42","ground_truth":"42"})",
                 {"math=2", "format(tags=optional answer=final)=0.5"});
  EXPECT_EQ(v.at(0)["score"], 2.0);
  EXPECT_EQ(v[0]["components"], json({{"math", 1.0}, {"format", 0.0}}));
  EXPECT_EQ(v[0]["detail"], "math: \"42\" = \"42\" (written the same); format: text after the final answer");
  EXPECT_EQ(v.at(1)["score"], 2.5);
}

TEST(MakeReward, FirstVerdictThatIsNotAScoreDecides) {
  auto v = score(R"({"response":"nothing","ground_truth":"42"})", {"format(tags=optional)", "math"});
  EXPECT_EQ(v.at(0)["verdict"], "unparsable");
  EXPECT_TRUE(v[0]["score"].is_null());
}

TEST(ScoreLines, KindOrDataSourceFindsTheFunction) {
  auto v = score(R"({"kind":"math","response":"#### 42","ground_truth":"42"})"
                 "\n"
                 R"({"kind":"format","response":"<think>hm</think>#### 42"})"
                 "\n"
                 R"({"data_source":"openai/gsm8k","response":"#### 42","ground_truth":"42"})"
                 "\n"
                 R"({"kind":"maths","response":"#### 42","ground_truth":"42"})"
                 "\n"
                 R"({"data_source":"moon","response":"#### 42","ground_truth":"42"})",
                 {"auto"});
  EXPECT_EQ(v.at(0)["version"], "math-4(strict)");
  EXPECT_EQ(v.at(1)["components"], json({{"format", 1.0}}));
  EXPECT_EQ(v.at(2)["score"], 1.0);
  EXPECT_EQ(v.at(3)["verdict"], "error");
  EXPECT_NE(v[3]["detail"].get<std::string>().find("did you mean math"), std::string::npos) << v[3];
  EXPECT_NE(v.at(4)["detail"].get<std::string>().find("moon"), std::string::npos) << v[4];
}

TEST(ScoreLines, UnknownFieldsReachTheFunctionInExtraInfo) {
  const std::string file = testing::TempDir() + "/extra_reward.py";
  std::ofstream(file) << "def reward(response, extra_info): return extra_info['tests'][1] + extra_info['index']\n";
  auto v = score(R"({"response":"x","tests":[1,20],"extra_info":{"index":3}})", {"python:" + file + ":reward"});
  EXPECT_EQ(v.at(0)["score"], 23.0) << v[0];
}

TEST(MakeReward, ReasoningIsCutForWhoeverDoesNotWantIt) {
  auto v = score(R"({"response":"<think>#### 1</think> #### 42","ground_truth":"42"})"
                 "\n"
                 R"({"response":"<think>#### 42","ground_truth":"42"})"
                 "\n"
                 R"({"response":"<think>\\boxed{42}</think> who knows","ground_truth":"42"})");
  EXPECT_EQ(v.at(0)["score"], 1.0);
  EXPECT_EQ(v.at(1)["verdict"], "unparsable");
  EXPECT_NE(v[1]["detail"].get<std::string>().find("not closed"), std::string::npos) << v[1];
  EXPECT_EQ(v.at(2)["verdict"], "unparsable");
}

std::string text(const std::string& spec) {  // the error, or ""
  try {
    make_reward({spec});
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(MakeReward, OptionsOfAFunctionAreChecked) {
  EXPECT_EQ(text("math(profile=strict)=2"), "");
  EXPECT_NE(text("math(profil=strict)").find("did you mean profile"), std::string::npos) << text("math(profil=strict)");
  EXPECT_NE(text("math(deadline_ms=soon)").find("want a number"), std::string::npos);
  EXPECT_EQ(text("code(language=c++)"), "");
  EXPECT_EQ(text("code(language=cobol profile=no.yaml)"), "code: cannot read profile no.yaml");  // it may define cobol
  EXPECT_EQ(text("code(language=pythn)"), "unknown language pythn, did you mean python (known: python, c, cpp, shell)");
}

TEST(MakeReward, UnknownNamesAndBadSpecsAreErrors) {
  EXPECT_NE(text("maths").find("did you mean math"), std::string::npos) << text("maths");
  EXPECT_NE(text("python:only_file.py").find("python:FILE.py:FUNCTION"), std::string::npos);
  EXPECT_NE(text("math=nan").find("finite"), std::string::npos);
  EXPECT_NE(text("math=x"), "");
  EXPECT_THROW(make_reward({}), Error);
  EXPECT_THROW(make_reward({"math"}, {.deadline_ms = 0}), Error);
}

}  // namespace
}  // namespace fulmen::reward
