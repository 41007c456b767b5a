// Random damage to right answers, reproducible and without a fuzzing engine; under the asan preset it looks for bad
// memory too.
#include <gtest/gtest.h>

#include <ctime>
#include <random>

#include "tests/fuzz/math_targets.h"
#include "tests/fuzz/mutation.h"

namespace fulmen::fuzz {
namespace {

const std::vector<std::string> kWords = {"\\frac",
                                         "{",
                                         "}",
                                         "^",
                                         "_",
                                         "(",
                                         ")",
                                         "\\sqrt",
                                         "\\left(",
                                         "|",
                                         "\\pm ",
                                         ",",
                                         ";",
                                         "=",
                                         "<",
                                         "\\cup",
                                         "!",
                                         "%",
                                         "99",
                                         "1e9",
                                         "\\text{",
                                         "\\boxed{",
                                         "\\sum_{i=1}^{9}",
                                         "\\begin{pmatrix}",
                                         "\\end{pmatrix}",
                                         "&",
                                         "\\\\",
                                         "x",
                                         "e",
                                         "i",
                                         "^{-1}",
                                         "\\infty",
                                         "/0",
                                         "\xe2\x88\x9a",
                                         "\xff",
                                         "$",
                                         "\\",
                                         "-",
                                         "\\log_",
                                         "\\in ",
                                         " or ",
                                         ":",
                                         "\\{",
                                         "\\}"};

TEST(Fuzz, DamagedAnswersAreScoredTheSameEveryTime) {
  std::mt19937 random(23);
  int right = 0, wrong = 0;
  double longest = 0;
  for (const std::string& seed : math_pair_seeds()) {
    EXPECT_TRUE(read_math_pair(seed)) << "an undamaged answer is wrong: " << seed;
    for (int round = 0; round < 40; ++round) {
      std::string bytes = seed;
      for (unsigned i = 0; i < 1 + random() % 4; ++i) mutate(bytes, kWords, random);
      const std::clock_t start = std::clock();
      (read_math_pair(bytes) ? right : wrong)++;
      longest = std::max(longest, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
    }
  }
  EXPECT_GT(right, wrong / 50) << "harmless damage exists";
  EXPECT_GT(wrong, right) << "the damage does not reach the verifier";
  EXPECT_LT(longest, 2) << "CPU seconds for one pair, judged twice";
}

TEST(Fuzz, DamagedTextsAreReadOrRefused) {
  std::mt19937 random(29);
  for (const std::string& seed : math_pair_seeds()) {
    std::string bytes = seed.substr(1, seed.find('\0', 1) - 1);
    for (int round = 0; round < 30; ++round) {
      mutate(bytes, kWords, random);
      read_math_answer(bytes);
    }
  }
}

}  // namespace
}  // namespace fulmen::fuzz
