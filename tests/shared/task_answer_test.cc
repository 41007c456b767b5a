#include <gtest/gtest.h>

#include "shared/task/answer.h"
#include "shared/task/expression.h"
#include "shared/task/puzzle.h"
#include "shared/task/records.h"

namespace fulmen::task {
namespace {

std::string found(const std::string& response) {
  const FinalAnswer a = final_answer(response);
  return a.text ? std::string(*a.text) : "none: " + a.why;
}

TEST(FinalAnswer, IsTheLastBlockBehindTheReasoning) {
  EXPECT_EQ(found("<answer>7</answer>"), "7");
  EXPECT_EQ(found("so <answer>\n 1 2\n3 4\n</answer> done"), "1 2\n3 4");
  EXPECT_EQ(found("<think>maybe <answer>1</answer></think><answer>2</answer>"), "2");
  EXPECT_EQ(found("thought without a tag </think> <answer>2</answer>"), "2");
  EXPECT_EQ(found("<answer>\n```python\n1 2\n3 4\n```\n</answer>"), "1 2\n3 4");
  EXPECT_EQ(found("<answer>```\n7\n```</answer>"), "7");
  EXPECT_EQ(found("<answer>```\n1\n```\n```\n2\n```</answer>").substr(0, 3), "```") << "two fences are no dress";
  EXPECT_EQ(found("<answer>```\n```</answer>").substr(0, 4), "none");
  EXPECT_EQ(found("<answer>1  2</answer> again <answer>1 2</answer>"), "1 2");
}

TEST(FinalAnswer, HedgesAndBrokenTagsAreNone) {
  for (const char* response :
       {"7", "", "<answer>1</answer> or <answer>2</answer>", "<answer>1", "1</answer>", "<answer></answer>",
        "<answer> </answer>", "<answer>1<answer>2</answer>", "<answer>1</answer></answer>",
        "<answer>1</answer> wait <answer>2", "<think><answer>1</answer>", "<think><answer>1</answer></think>",
        "<think>a</think><think><answer>1</answer>", "<ANSWER>1</ANSWER>", "\\boxed{1}", "```python\n1\n```"})
    EXPECT_EQ(found(response).substr(0, 4), "none") << response;
  EXPECT_EQ(found("<answer>" + std::string(kMaxAnswer + 1, 'a') + "</answer>").substr(0, 4), "none");
}

TEST(FinalAnswer, WorkIsLinear) {
  std::string open, pairs;
  for (int i = 0; i < 200000; ++i) open += "<answer>", pairs += "<answer>1</answer>";
  EXPECT_EQ(found(open).substr(0, 4), "none");
  EXPECT_EQ(found(pairs), "1");
  EXPECT_EQ(found(std::string(2000000, '<')).substr(0, 4), "none");
}

TEST(Expression, HasTheValueOfArithmetic) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"1+2*3", "7"},     {"(1+2)*3", "9"}, {"7/2", "7/2"}, {"1/3+1/6", "1/2"}, {"-3+5", "2"},
      {"2*-3", "-6"},     {"17%5", "2"},    {"-7%3", "2"},  {"8-3-2", "3"},     {"16/4/2", "2"},
      {"((((5))))", "5"}, {" 1 + 1 ", "2"}, {"7*3%4", "1"}, {"--4", "4"},       {"10-2*3%5", "9"}};
  for (const auto& [text, value] : cases) {
    const Parsed p = parse_expression(text);
    ASSERT_TRUE(p.value) << text << ": " << p.why;
    EXPECT_EQ(text_of(*p.value), value) << text;
  }
}

TEST(Expression, NothingElseIsOne) {
  for (const char* text : {"",
                           "1+",
                           "1 2",
                           "(1",
                           "1)",
                           "1.5*16",
                           "2**3",
                           "1//2",
                           "__import__('os')",
                           "abs(1)",
                           "1/0",
                           "5%0",
                           "1/2%3",
                           "9999999999",
                           "x",
                           "0x10",
                           "1e5",
                           "²",
                           "1,2",
                           "999999999*999999999*999999999"})
    EXPECT_FALSE(parse_expression(text).value) << text;
  EXPECT_FALSE(parse_expression(std::string(600, '1')).value);
  EXPECT_FALSE(parse_expression(std::string(100, '(') + "1" + std::string(100, ')')).value);
  EXPECT_FALSE(parse_expression(std::string(400, '-') + "1").value);
  std::string sum = "1";
  for (int i = 0; i < 70; ++i) sum += "+1";
  EXPECT_FALSE(parse_expression(sum).value);
}

TEST(Reading, NumbersAndGridsAreStrict) {
  EXPECT_EQ(integer("-12"), -12);
  EXPECT_EQ(integer("+3"), 3);
  for (const char* text : {"", "+", "1.0", "1 2", "++1", "+-1", "True", "99999999999999999999"})
    EXPECT_FALSE(integer(text)) << text;
  EXPECT_EQ(read_number_grid("1 2\n3 4", 2, 2), (Numbers{{1, 2}, {3, 4}}));
  EXPECT_EQ(read_number_grid("[[1, 2], [3, 4]]", 2, 2), (Numbers{{1, 2}, {3, 4}}));
  EXPECT_EQ(read_number_grid("12\n34", 2, 2), (Numbers{{1, 2}, {3, 4}}));
  for (const char* text : {"1 2 3", "1 2\n3 4 5", "1 2\n3 True", "1 2\n3 .", "one two three four"})
    EXPECT_FALSE(read_number_grid(text, 2, 2)) << text;
  EXPECT_EQ(text_of(*read_fraction("-6/4")), "-3/2");
  EXPECT_EQ(text_of(*read_fraction("2.50")), "5/2");
  EXPECT_FALSE(read_fraction("1/0"));
  EXPECT_FALSE(read_fraction("1."));
  EXPECT_FALSE(read_fraction("-9223372036854775808/3"));
}

TEST(Puzzle, FieldsOfStrangersAreCheckedAndNamed) {
  const auto error_of = [](const std::string& puzzle) {
    return verify_line(R"({"data_source":"logic/sudoku","answer":"1","extra_info":{"puzzle":)" + puzzle + "}}",
                       "fulmen")
        .why;
  };
  EXPECT_EQ(error_of("{}"), "puzzle: grid: want a value, got none");
  EXPECT_EQ(error_of("[]"), "puzzle: want an object");
  EXPECT_EQ(error_of(R"({"grid":[[1,2],[3]]})"), "puzzle: grid: want rows of one length in 1..32");
  EXPECT_EQ(error_of(R"({"grid":[[true]]})"), "puzzle: grid: want an integer");
  EXPECT_EQ(error_of(R"({"grid":[[18446744073709551615]]})"), "puzzle: grid: want 0..9, got 4611686018427387904");
  EXPECT_EQ(error_of(R"({"grid":[[1,2],[3,4]]})"), "puzzle: grid: want 4 x 4, 6 x 6 or 9 x 9");
  EXPECT_EQ(verify_line("{oops", "fulmen").kind, LineVerdict::kError);
  EXPECT_EQ(verify_line("[]", "fulmen").why, "want a JSON object");
  EXPECT_EQ(verify_line(R"({"data_source":"logic/x"})", "fulmen").why, "no task of data_source logic/x");
}

}  // namespace
}  // namespace fulmen::task
