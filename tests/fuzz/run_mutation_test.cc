// Random damage to what a run reads, reproducible and without a fuzzing engine.
#include <gtest/gtest.h>

#include <random>

#include "tests/fuzz/mutation.h"
#include "tests/fuzz/run_targets.h"

namespace fulmen::fuzz {
namespace {

void run(bool (*read)(std::string_view), const std::vector<std::string>& seeds, const std::vector<std::string>& words,
         int rounds) {
  std::mt19937 random(41);
  int understood = 0;
  for (const std::string& seed : seeds) {
    EXPECT_TRUE(read(seed)) << "undamaged, and refused: " << seed;
    for (int round = 0; round < rounds; ++round) {
      std::string bytes = seed;
      for (unsigned i = 0; i < 1 + random() % 3; ++i) mutate(bytes, words, random);
      understood += read(bytes);
    }
  }
  EXPECT_GT(understood, 0) << "the damage does not reach the reader";
  EXPECT_LT(understood, static_cast<int>(seeds.size()) * rounds);
}

TEST(Fuzz, DamagedRunConfigsAreReadOrRefused) {
  run(read_config_yaml, config_yaml_seeds(),
      {"\n",
       "  ",
       ": ",
       "- ",
       "[",
       "]",
       "{",
       "}",
       "&a ",
       "*a",
       "<<: ",
       "\"",
       "'",
       "|\n",
       "? ",
       "!!str ",
       "---\n",
       "~",
       "1e999",
       "nan",
       "0x7",
       "-1",
       "9223372036854775808",
       "\t",
       "\xff",
       std::string(1, '\0')},
      600);
}

TEST(Fuzz, DamagedDataLinesAreReadOrRefused) {
  run(read_data_lines, data_line_seeds(),
      {"{", "}", "[", "]", "\"", ",", ":", "null", "1e999", "\\u0000", "\\ud800", "\xff", "\n", "\"prompt\":1,"}, 4000);
}

TEST(Fuzz, DamagedMessagesAreReadOrRefused) {
  run(read_envelope, envelope_seeds(),
      {"\x08", "\x12", std::string(1, '\0'), "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\x80\x80\x80\x04",
       "\x20\x18"},
      4000);
}

// Values are printed and copied by recursion: 200,000 brackets once ended the process.
TEST(Fuzz, DeepNestingIsRefused) {
  constexpr int kDeep = 200'000;
  const std::string deep = std::string(kDeep, '[') + std::string(kDeep, ']');
  EXPECT_FALSE(read_data_lines(R"({"prompt":"p","data_source":"x","reward_model":{"ground_truth":1},"extra_info":)" +
                               deep + "}"));
  EXPECT_FALSE(read_config_yaml("run: " + deep));
}

}  // namespace
}  // namespace fulmen::fuzz
