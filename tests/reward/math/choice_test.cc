#include "reward/math/choice.h"

#include <gtest/gtest.h>

namespace fulmen::reward::math {
namespace {

std::string read(const char* text) {
  const auto choice = read_choice(text);
  return choice ? std::string(1, choice->letter) + "|" + choice->rest : "none";
}

TEST(MathChoice, ALetterMayBeDressed) {
  for (const char* text : {"B", "(B)", "B)", "B.", "\\text{B}", "\\textbf{(B)}", "\\mathrm{(B)}", "option B",
                           "The correct answer is (B).", "$\\text{(B) }$", " B "})
    EXPECT_EQ(read(text), "B|") << text;
}

TEST(MathChoice, WhatStandsBehindItIsKept) {
  EXPECT_EQ(read("(B) 12"), "B|12");
  EXPECT_EQ(read("B. \\frac{1}{2}"), "B|\\frac{1}{2}");
  EXPECT_EQ(read("\\textbf{(B)}\\ 12"), "B|12");
  EXPECT_EQ(read("\\text{B: }12"), "B|12");
}

TEST(MathChoice, SecondLettersAndFormulasAreNoChoice) {
  for (const char* text : {"", "x", "Z", "(B", "AB", "B+C", "B^2", "B=5", "A, B", "A or B", "(A) or (B)", "(A) (B)",
                           "(A), (B)", "B. or C", "B and C", "(A, B)", "not B", "(B)12"})
    EXPECT_EQ(read(text), "none") << text;
}

TEST(MathChoice, ARemarkOnTheParameterIsTakenOff) {
  auto check = [](const char* text, const char* core, const char* name) {
    const Parameter p = without_domain(text);
    EXPECT_EQ(p.text, core) << text;
    EXPECT_EQ(p.name, name) << text;
  };
  check("k\\pi, k\\in\\mathbb{Z}", "k\\pi", "k");
  check("a_n=2n-1 (n\\in N^*)", "a_n=2n-1", "n");
  check("2n, n \\in \\mathbb{N}_{+}.", "2n", "n");
  check("x \\in \\mathbb{Z}", "x \\in \\mathbb{Z}", "");
  check("x=1, y \\in \\mathbb{Z}", "x=1, y \\in \\mathbb{Z}", "");
  check("5", "5", "");
  check("Z", "Z", "");
  check("", "", "");
}

}  // namespace
}  // namespace fulmen::reward::math
