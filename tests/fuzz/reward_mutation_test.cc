// Random damage to records and judges' replies, reproducible and without a fuzzing engine.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/mutation.h"
#include "tests/fuzz/reward_targets.h"

namespace fulmen::fuzz {
namespace {

const std::vector<std::string> kWords = {
    "{",    "}",    "[",      "]",           "\"",        "null",   "-1",    "1e999",
    "1e19", "\\n",  "Grade:", "```python\n", "\\u0000",   "\xff",   "\xc3",  "\"tests\":[],",
    "[[[[", "true", "5",      "\n",          "\"id\":1,", "assert", "```\n", "\"score\":0,"};

void run(bool (*read)(std::string_view), const std::vector<std::string>& seeds, int rounds) {
  std::mt19937 random(31);
  int understood = 0;
  for (const std::string& seed : seeds) {
    EXPECT_TRUE(read(seed)) << "undamaged, and refused: " << seed;
    for (int round = 0; round < rounds; ++round) {
      std::string bytes = seed;
      for (unsigned i = 0; i < 1 + random() % 3; ++i) mutate(bytes, kWords, random);
      understood += read(bytes);
    }
  }
  EXPECT_GT(understood, 0) << "the damage does not reach the reader";
  EXPECT_LT(understood, static_cast<int>(seeds.size()) * rounds);
}

TEST(Fuzz, DamagedRecordsAreReadOrRefused) { run(read_score_record, score_record_seeds(), 3000); }
TEST(Fuzz, DamagedJudgesAreReadOrRefused) { run(read_judge_answer, judge_answer_seeds(), 5000); }

}  // namespace
}  // namespace fulmen::fuzz
