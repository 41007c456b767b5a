#include "reward/math/compare.h"

#include <gtest/gtest.h>

#include "reward/math/parser.h"

namespace fulmen::reward::math {
namespace {

std::string verdict(const std::string& gold, const std::string& answer, const char* profile = "") {
  Tree t;
  std::string why;
  const Profile& p = find_profile(profile);
  NodeId a = parse_answer(t, gold, p, why), b = parse_answer(t, answer, p, why);
  if (a == kNone || b == kNone) return "unreadable: " + why;
  Same s = Comparison(t, p).equal(a, b);
  return s == Same::kYes ? "same" : s == Same::kNo ? "different" : "undecided";
}

struct Pair {
  const char *gold, *answer;
};

TEST(MathCompare, TheSameObjectInAnotherDressIsTheSame) {
  const Pair pairs[] = {{"0.5", "\\frac{1}{2}"},
                        {"18", "18.0"},
                        {"\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"},
                        {"2\\sqrt{2}", "\\sqrt{8}"},
                        {"1+\\sqrt{2}", "\\sqrt{3+2\\sqrt{2}}"},
                        {"3", "\\log_2 8"},
                        {"\\sqrt{2}-1", "\\tan \\frac{\\pi}{8}"},
                        {"\\sin 2x", "2\\sin x\\cos x"},
                        {"1", "\\sin^2 x + \\cos^2 x"},
                        {"(x+1)^2", "x^2+2x+1"},
                        {"\\frac{x^2-1}{x-1}", "x+1"},
                        {"\\frac{1}{x}", "x^{-1}"},
                        {"30p\\sqrt{p}", "30p^{3/2}"},
                        {"2\\ln x", "\\ln x^2"},
                        {"x = 5", "5"},
                        {"5", "x = 5"},
                        {"f(x) = 2x+3", "2x+3"},
                        {"AB = 12+12\\sqrt{3}", "12+12\\sqrt{3}"},
                        {"34", "x = 17 \\cdot 2 = 34"},
                        {"y = 2x + 3", "2x - y + 3 = 0"},
                        {"x + y = 1", "2x+2y-2=0"},
                        {"x < y", "y > x"},
                        {"10 \\text{ cm}", "0.1 \\text{ m}"},
                        {"10 \\text{ cm}", "10"},
                        {"18", "18 eggs"},
                        {"18", "18 men"},
                        {"\\$5", "5 dollars"},
                        {"5 \\text{ m}", "5 m"},
                        {"60 km/h", "60 \\text{ km per hour}"},
                        {"10\\%", "0.1"},
                        {"30^\\circ", "30"},
                        {"30^\\circ", "\\frac{\\pi}{6}"},
                        {"1 \\pm \\sqrt{2}", "1-\\sqrt{2}, 1+\\sqrt{2}"},
                        {"\\{1\\pm\\sqrt{5},-2\\}", "\\{-2,1+\\sqrt5,1-\\sqrt5\\}"},
                        {"1,2", "2,1"},
                        {"1,2", "\\{1,2\\}"},
                        {"\\{5\\}", "5"},
                        {"(3,4)", "(\\frac{6}{2}, 4)"},
                        {"(-\\infty, 3) \\cup (3, \\infty)", "\\mathbb{R} \\setminus \\{3\\}"},
                        {"x < 2", "(-\\infty, 2)"},
                        {"[1,3]", "1 \\le x \\le 3"},
                        {"(-\\infty,0) \\cup (1,\\infty)", "x<0 \\text{ or } x>1"},
                        {"(0,2)", "x > 0 \\text{ and } x < 2"},
                        {"x \\in [-2,7]", "[-2,7]"},
                        {"[0,1] \\cup [1,2]", "[0,2]"},
                        {"\\text{no solution}", "\\emptyset"},
                        {"\\frac{1}{7}\\begin{pmatrix}7\\\\14\\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"},
                        {"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "(1,2)"},
                        {"1:2", "2:4"},
                        {"1:2", "\\frac12"},
                        {"43_5", "43"},
                        {"\\text{(A)}", "A"},
                        {"\\text{Friday}", "friday"},
                        {"CD", "\\text{CD}"},
                        {"\\mbox{four}", "4"},
                        {"10{,}000", "10000"},
                        {"\\frac{2}{3} \\approx 0.67", "2/3"},
                        {"0.56 = 56\\%", "0.56"},
                        {"2^{1000}", "4^{500}"},
                        {"(x+y)^{3000}", "(y+x)^{3000}"},
                        {"f(4 - x)", "f(-x+4)"},
                        {"C_5^2", "10"},
                        {"\\angle ABC = 60^\\circ", "60"},
                        {"S_{MBCN}:S=7:32", "\\frac{7}{32}"}};
  for (const Pair& p : pairs) EXPECT_EQ(verdict(p.gold, p.answer), "same") << p.gold << "  |  " << p.answer;
}

TEST(MathCompare, WhatOnlyLooksAlikeIsDifferent) {
  const Pair pairs[] = {{"\\frac{1}{2004!}", "\\frac{1}{2006!}"},
                        {"\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}"},
                        {"0.0000001", "0"},
                        {"0", "e^{-1000}"},
                        {"123456789012345678901", "123456789012345678902"},
                        {"1000099", "1000000"},
                        {"34", "34.0000001"},
                        {"\\pi", "3.14159265358979"},
                        {"\\frac13", "0.333333333333"},
                        {"262537412640768744", "e^{\\pi\\sqrt{163}}"},
                        {"10 \\text{ cm}", "10 \\text{ km}"},
                        {"10 \\text{ cm}^2", "10 \\text{ cm}"},
                        {"10 \\text{ apples}", "10 \\text{ pears}"},
                        {"10\\%", "10"},
                        {"0.5", "50"},
                        {"a", "A"},
                        {"x", "\\sqrt{x^2}"},
                        {"|x-5|", "5-x"},
                        {"\\max(x, 10)", "10"},
                        {"|x|", "x"},
                        {"f(x)", "f(y)"},
                        {"1-\\frac1e", "1+\\frac1e"},
                        {"3x-y+13=0", "3x+4y+14=0"},
                        {"x=2", "y=2"},
                        {"34", "17 \\cdot 2 = 34"},
                        {"34", "33 = 34"},
                        {"34", "x = 33 = 34"},
                        {"34", "x \\ge 34"},
                        {"\\frac{2}{3} \\approx 0.67", "\\frac{2}{3} \\approx 0.97"},
                        {"x < 2", "x \\le 2"},
                        {"x < 2", "y < 2"},
                        {"x < y", "x > y"},
                        {"x > 1", "-x > 1"},
                        {"\\infty", "-\\infty"},
                        {"(0,1)", "[0,1]"},
                        {"(1,2)", "(2,1)"},
                        {"(1,2)", "\\{1,2\\}"},
                        {"\\{1,2\\}", "\\mathbb{R}"},
                        {"1,1,2", "1,2"},
                        {"2", "\\pm 2"},
                        {"1,2", "1"},
                        {"12:00", "1:00"},
                        {"4:30", "3:00"},
                        {"43_5", "43_6"},
                        {"\\text{CBAD}", "\\text{ABCD}"},
                        {"\\frac{\\pi}{6}", "\\frac{\\pi}{0}"},
                        {"\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1&2\\end{pmatrix}"},
                        {"x^2+1", "x^2+2"},
                        {"(x+y+z+w)^{5000}", "(x+y+z-w)^{5000}"},
                        {"2x", "2x+\\frac{x}{10^{40}}"},
                        {"C_12", "C_22"},
                        {"1234", "12,34"}};
  for (const Pair& p : pairs) EXPECT_EQ(verdict(p.gold, p.answer), "different") << p.gold << "  |  " << p.answer;
}

TEST(MathCompare, WhatCannotBeToldIsUndecidedAndNeverTheSame) {
  for (const char* answer :
       {"5^{5^{5^{5^5}}}", "\\prod_{k=1}^{10000000} k", "\\sin(\\exp(\\exp(\\exp(10))))",
        "\\int_0^1 \\frac{\\sin(x^x)}{\\ln(1+x^{x^x})} dx", "\\sum_{n=1}^{\\infty} \\frac{1}{n^2}"}) {
    EXPECT_EQ(verdict("34", answer), "undecided") << answer;
  }
}

TEST(MathCompare, ProfilesDisagreeWhereTheSuitesDo) {
  EXPECT_EQ(verdict("10\\%", "10", "hendrycks"), "same");
  EXPECT_EQ(verdict("10\\%", "10", "math-verify"), "different");
  EXPECT_EQ(verdict("10,4,-2", "4,10,-2", "hendrycks"), "different");
  EXPECT_EQ(verdict("10,4,-2", "4,10,-2", "math-verify"), "same");
  EXPECT_EQ(verdict("10 \\text{ apples}", "10 \\text{ pears}", "hendrycks"), "same");
  EXPECT_EQ(verdict("10 \\text{ cm}", "10 \\text{ km}", "hendrycks"), "different");
  EXPECT_EQ(verdict("(1,2)", "\\{2,1\\}", "math-verify"), "same");
  EXPECT_EQ(verdict("\\frac13", "0.333333", "math-verify"), "same");
  EXPECT_EQ(verdict("\\frac13", "0.33", "math-verify"), "different");
  EXPECT_EQ(verdict("0.0000001", "0", "math-verify"), "different");
  EXPECT_EQ(verdict("34", "34.0000001", "math-verify"), "different");
  EXPECT_EQ(verdict("\\frac{1}{2004!}", "\\frac{1}{2006!}", "math-verify"), "different");
  EXPECT_EQ(verdict("x<2", "(-\\infty,2)", "math-verify"), "same");
  EXPECT_EQ(verdict("(-\\infty,2)", "x<2", "math-verify"), "different");
}

TEST(MathCompare, ReadsTheSameBothWays) {
  for (const Pair& p : {Pair{"x^2-1", "(x-1)(x+1)"}, Pair{"\\sqrt 8", "2\\sqrt 2"}, Pair{"1,2,3", "3,2,1"},
                        Pair{"2", "3"}, Pair{"(1,2)", "(1,3)"}, Pair{"[0,1]", "[0,1)"}}) {
    EXPECT_EQ(verdict(p.gold, p.answer), verdict(p.answer, p.gold)) << p.gold;
  }
}

}  // namespace
}  // namespace fulmen::reward::math
