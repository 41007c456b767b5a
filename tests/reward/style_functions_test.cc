// format, length, language: how a response is written.
#include <gtest/gtest.h>

#include "kernels/error.h"
#include "reward/functions.h"

namespace fulmen::reward {
namespace {

double score(Function& f, const std::string& response, const std::string& prompt = "") {
  Record r;
  r.response = response;
  r.prompt = prompt;
  const Verdict v = f.score(r);
  EXPECT_TRUE(v.kind == Kind::kScore) << v.detail;
  EXPECT_EQ(v.score == 1, v.detail.empty()) << v.detail;
  return v.score;
}

TEST(Format, OnePairOfTagsWithReasoningInItIsRewarded) {
  auto f = make_format({});
  for (const char* good :
       {"<think>a</think>b", " <think>\nlet me see\n</think>\n\nThe answer is 42.", "<think>\u4e2d</think>\u4e2d"})
    EXPECT_EQ(score(*f, good), 1) << good;
  for (const char* bad :
       {"", "42", "<think></think>a", "<think> \n</think>a", "<think>...</think>a", "<think>a</think>",
        "<think>a</think> \n", "<think>a", "a</think>b", "</think>a<think>b", "<think>a</think></think>b",
        "<think>a</think><think>b</think>c", "<think><think>a</think>b", "hm <think>a</think>b"})
    EXPECT_EQ(score(*f, bad), 0) << bad;
}

TEST(Format, OpeningTagMayEndThePrompt) {
  auto f = make_format({});
  EXPECT_EQ(score(*f, "a</think>b", "user: 1+1?\nai: <think>\n"), 1);
  EXPECT_EQ(score(*f, "<think>a</think>b", "ai: <think>"), 0);
  EXPECT_EQ(score(*f, "a</think>b", "what does <think> mean?"), 0);
}

TEST(Format, TagsCanBeOptionalAndAFinalAnswerWanted) {
  auto f = make_format({.tags_required = false, .final_answer = true, .words = 2});
  for (const char* good :
       {"so #### 42", "so #### 42\n", "so $\\boxed{x}$.", "<think>a b</think>\n#### 42", "#### \\boxed{42}"})
    EXPECT_EQ(score(*f, good), 1) << good;
  for (const char* bad : {"", "42", "#### 42\nbecause", "#### 41\n#### 42", "\\boxed{41} then \\boxed{42}", "\\boxed{}",
                          "<think></think>#### 42", "<think>a</think>#### 42", "</think>#### 42", "<think>#### 42",
                          "hm <think>a b</think>#### 42", "<think>#### 42 b</think>"})
    EXPECT_EQ(score(*f, bad), 0) << bad;
}

TEST(Length, FallsFromZeroToMinusOneBeforeTheLimit) {
  auto f = make_length({.limit = 100, .soft = 20});
  const auto at = [&](int64_t tokens) {
    Record r;
    r.tokens = tokens;
    return f->score(r).score;
  };
  EXPECT_EQ(at(0), 0);
  EXPECT_EQ(at(80), 0);
  EXPECT_EQ(at(90), -0.5);
  EXPECT_EQ(at(100), -1);
  EXPECT_EQ(at(100000), -1);
  EXPECT_TRUE(f->score(Record{}).kind == Kind::kError) << "tokens are not guessed";
  auto chars = make_length({.limit = 4, .soft = 4, .tokens = false});
  Record r;
  r.response = "\u4e2d\u4e2d";
  EXPECT_EQ(chars->score(r).score, -0.5) << "characters, not bytes";
  EXPECT_THROW(make_length({.limit = 10, .soft = 11}), Error);
}

TEST(Language, IsTheShareOfLettersOfItsScript) {
  auto en = make_language("en"), zh = make_language("zh"), ja = make_language("ja"), prompt = make_language("prompt");
  EXPECT_EQ(score(*en, "The answer is 42, caf\u00e9."), 1);
  EXPECT_EQ(score(*en, "\u7b54\u6848"), 0);
  EXPECT_EQ(score(*zh, "\u7b54\u6848ab"), 0.5);
  EXPECT_EQ(score(*zh, "\u7b54\u6848 $x+y$ \\frac ```int main``` 42"), 1) << "formulas and code have no language";
  EXPECT_EQ(score(*ja, "\u7b54\u3048\u306f"), 1);
  EXPECT_EQ(score(*en, "42"), 1);
  EXPECT_EQ(score(*prompt, "\u043e\u0442\u0432\u0435\u0442", "\u0441\u043a\u043e\u043b\u044c\u043a\u043e?"), 1);
  EXPECT_EQ(score(*prompt, "answer", "\u0441\u043a\u043e\u043b\u044c\u043a\u043e?"), 0);
  EXPECT_EQ(score(*en, "\xff\xe4\xb8"), 1) << "broken bytes have no script";
  EXPECT_THROW(make_language("klingon"), Error);
}

}  // namespace
}  // namespace fulmen::reward
