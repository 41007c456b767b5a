#include "reward/math/parser.h"

#include <gtest/gtest.h>

#include "reward/math/exact.h"

namespace fulmen::reward::math {
namespace {

std::string tree_of(const std::string& text) {
  Tree t;
  std::string why;
  NodeId n = parse_answer(t, text, strict_profile(), why);
  EXPECT_EQ(n == kNone, !why.empty()) << text;
  return n == kNone ? "-" : spell(t, n);
}

std::string number_of(const std::string& text) {
  Tree t;
  std::string why;
  NodeId n = parse_answer(t, text, strict_profile(), why);
  if (n == kNone) return "-";
  Work work;
  Exact exact(t, work);
  auto v = exact.value(n);
  return v ? v->get_str() : "-";
}

struct Case {
  const char *text, *value;
};

TEST(MathParser, ReadsNumbersAsPeopleWriteThem) {
  const Case cases[] = {{"42", "42"},
                        {"- 7", "-7"},
                        {"\u22127", "-7"},
                        {"007", "7"},
                        {"1,234,567.5", "2469135/2"},
                        {"10{,}000", "10000"},
                        {"11,\\! 111,\\! 100", "11111100"},
                        {"10\u202f000", "10000"},
                        {"1 000 000", "1000000"},
                        {".5", "1/2"},
                        {"5.", "5"},
                        {"0.1\\overline{6}", "1/6"},
                        {"\\frac12", "1/2"},
                        {"\\frac 74", "7/4"},
                        {"\\frac1{216}", "1/216"},
                        {"-\\tfrac{3}{-4}", "3/4"},
                        {"\\frac{1}{\\frac{1}{2}}", "2"},
                        {"\\frac{1{,}000}{3}", "1000/3"},
                        {"2\\frac{1}{2}", "5/2"},
                        {"-2\\frac12", "-5/2"},
                        {"2 1/2", "5/2"},
                        {"2\u00bd", "5/2"},
                        {"2^{10}", "1024"},
                        {"2^-2", "1/4"},
                        {"2^3^2", "512"},
                        {"-2^2", "-4"},
                        {"1.5E-1", "3/20"},
                        {"1e-7", "1/10000000"},
                        {"1.5 \\times 10^{3}", "1500"},
                        {"50\\%", "1/2"},
                        {"12.5 percent", "1/8"},
                        {"\\$5.25", "21/4"},
                        {"5 million", "5000000"},
                        {"\\sqrt{\\frac{4}{9}}", "2/3"},
                        {"\\sqrt[3]{-8}", "-2"},
                        {"\\binom{5}{2}", "10"},
                        {"{5 \\choose 2}", "10"},
                        {"5!", "120"},
                        {"\\sum_{k=1}^{10} k^2", "385"},
                        {"|-3|", "3"},
                        {"\\lfloor 3.7 \\rfloor", "3"},
                        {"\\\\frac{1}{2}", "1/2"},
                        {"**42**", "42"},
                        {"\\mathbf{2340}", "2340"},
                        {"\\text{42}", "42"},
                        {"3 + 4 \\cdot 5", "23"},
                        {"8/2/2", "2"}};
  for (const Case& c : cases) EXPECT_EQ(number_of(c.text), c.value) << c.text;
}

TEST(MathParser, NotationHasOneReading) {
  const Case cases[] = {{"2x^2y", "(2*(x^2)*y)"},
                        {"1/2x", "(1/(2*x))"},
                        {"1/2 x", "((1/2)*x)"},
                        {"\\sin 2x \\cos y", "(sin((2*x))*cos(y))"},
                        {"\\sin^2 x", "(sin(x)^2)"},
                        {"\\sin^{-1} x", "arcsin(x)"},
                        {"\\log_2 8", "log(8, 2)"},
                        {"f(x+1)", "f((x + 1))"},
                        {"a(x+1)", "(a*(x + 1))"},
                        {"x_1^2", "(x_1^2)"},
                        {"x^2_1", "(x_1^2)"},
                        {"(1,2)", "(1, 2)"},
                        {"[1,2)", "[1, 2)"},
                        {"\\{1,2\\}", "{1, 2}"},
                        {"1,2", "1, 2"},
                        {"1, 2, and 3", "1, 2, 3"},
                        {"1 or 2", "1, 2"},
                        {"(1,000)", "(1, 0)"},
                        {"1,000", "1000"},
                        {"p=5,q=2;p=7,q=2", "(p = 5, q = 2), (p = 7, q = 2)"},
                        {"1 < x \\le 2", "1 < x <= 2"},
                        {"(-\\infty,3) \\cup (3,\\infty)", "union((-(oo), 3), (3, oo))"},
                        {"101_2", "101 base 2"},
                        {"10 \\text{ cm}^2", "10 cm^2"},
                        {"90^\\circ", "degree(90)"},
                        {"\\text{Friday}", "\"friday\""},
                        {"\\text{no solution}", "{}"},
                        {"\\mathbb{R}", "R-set"},
                        {"4:30", "ratio(4, 30)"},
                        {"\\begin{pmatrix} 1 & 2 \\\\ 3 & 4 \\end{pmatrix}", "matrix(1, 2, 3, 4)"}};
  for (const Case& c : cases) EXPECT_EQ(tree_of(c.text), c.value) << c.text;
}

TEST(MathParser, WhatIsNoAnswerIsRefusedOrKeptAsText) {
  for (const char* text :
       {"", " ", "-", "3 + * 4", "\\frac{1}", "(1", "1)", "1 2", "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}",
        "\u202e43\u202c", "{}", "34(1,2)", "x^{(1,2)}", "\\sqrt{\\{1,2\\}}", "[1,2", "\\frac{x=1}{2}"}) {
    EXPECT_EQ(tree_of(text), "-") << text;
  }
  for (const char* text : {"34 minus one", "5 with remainder 2", "34 (approximately)", "5 but not 6"}) {
    std::string t = tree_of(text);
    EXPECT_TRUE(t == "-" || t[0] == '"') << text << " became " << t;
  }
}

TEST(MathParser, ExpensiveTextIsRefusedWithoutHarm) {
  auto many = [](const std::string& s, int n) {
    std::string text;
    for (int i = 0; i < n; i++) text += s;
    return text;
  };
  for (const std::string& text :
       {std::string(100000, '9'), many("(", 4000) + "1" + many(")", 4000),
        many("\\frac{1}{", 900) + "1" + many("}", 900), many("1+", 4000) + "1", many("{", 8000), many("-", 8000) + "1",
        many("\\sqrt", 1500) + "2", many("x^", 4000) + "x", many("\\text{", 1300), many("|", 8000),
        many("\\sin", 2000) + "x", many("!", 5000), std::string("1e999999"), many("\\begin{pmatrix}", 500),
        many("f(", 3000), many("2*", 4000) + "2", many("2/", 4000) + "2", many("[1,2]\\cup", 900) + "[1,2]",
        many("1,", 4000)}) {
    Tree t;
    std::string why;
    const bool refused = parse_answer(t, text, strict_profile(), why) == kNone;
    EXPECT_EQ(refused, !why.empty()) << text.substr(0, 20);
    EXPECT_LE(t.size(), kMaxNodes + 64) << text.substr(0, 20);
  }
}

}  // namespace
}  // namespace fulmen::reward::math
