// Random damage to records and judges' replies, reproducible and without a fuzzing engine.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/reward_targets.h"

namespace fulmen::fuzz {
namespace {

const std::vector<std::string> kWords = {
    "{",    "}",    "[",      "]",           "\"",        "null",   "-1",    "1e999",
    "1e19", "\\n",  "Grade:", "```python\n", "\\u0000",   "\xff",   "\xc3",  "\"tests\":[],",
    "[[[[", "true", "5",      "\n",          "\"id\":1,", "assert", "```\n", "\"score\":0,"};

void mutate(std::string& bytes, std::mt19937& random) {
  const size_t at = random() % (bytes.size() + 1), length = std::min<size_t>(random() % 12 + 1, bytes.size() - at);
  switch (random() % 4) {
    case 0:
      bytes.erase(at, length);
      break;
    case 1:
      bytes.insert(random() % (bytes.size() + 1), bytes.substr(at, length));
      break;
    case 2:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      break;
    default:
      bytes.insert(at, kWords[random() % kWords.size()]);
  }
}

void run(bool (*read)(std::string_view), const std::vector<std::string>& seeds, int rounds) {
  std::mt19937 random(31);
  int understood = 0;
  for (const std::string& seed : seeds) {
    EXPECT_TRUE(read(seed)) << "undamaged, and refused: " << seed;
    for (int round = 0; round < rounds; ++round) {
      std::string bytes = seed;
      for (unsigned i = 0; i < 1 + random() % 3; ++i) mutate(bytes, random);
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
