// Random damage to accepted files, reproducible and without a fuzzing engine, so that it runs wherever the tests run;
// under the asan preset it looks for bad memory too.
#include "tests/fuzz/mutation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "tests/fuzz/targets.h"

namespace fulmen::fuzz {
namespace {

const std::vector<std::string> kWords = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "null",
                                         "true",
                                         "-1",
                                         "0",
                                         "1e999",
                                         "1e-999",
                                         "2147483648",
                                         "9223372036854775807",
                                         "18446744073709551615",
                                         "\"\\n\"",
                                         "\"\\u0000\"",
                                         "\"a\":1,",
                                         "\xff\xff\xff\xff",
                                         "\xc3",
                                         std::string(4, '\0'),
                                         "\n"};

void run(const std::vector<Target>& targets, const std::string& name, int rounds) {
  for (const Target& target : targets) {
    if (target.name != name) continue;
    std::mt19937 random(17);
    int refused = 0;
    for (const std::string& seed : target.seeds) {
      EXPECT_TRUE(target.read(seed)) << "the undamaged file is refused";
      for (size_t n = 0; n < std::min<size_t>(seed.size(), 400); ++n) refused += !target.read(seed.substr(0, n));
      for (int round = 0; round < rounds; ++round) {
        std::string bytes = seed;
        for (unsigned i = 0; i < 1 + random() % 3; ++i) mutate(bytes, kWords, random);
        refused += !target.read(bytes);
      }
    }
    EXPECT_GT(refused, rounds / 4) << "the damage does not reach the reader";
    return;
  }
  FAIL() << "no target " << name;
}

TEST(Fuzz, DamagedSafetensorsAreReadOrRefused) { run(file_targets(), "safetensors", 4000); }
TEST(Fuzz, DamagedTokenizersAreReadOrRefused) { run(file_targets(), "tokenizer_json", 2000); }
TEST(Fuzz, DamagedConfigsAreReadOrRefused) { run(file_targets(), "config_json", 1500); }
TEST(Fuzz, DamagedPuzzlesAreCheckedOrRefused) { run(task_targets(), "task_record", 400); }
TEST(Fuzz, DamagedAnswersAreJudged) { run(task_targets(), "task_answer", 300); }

// Values are printed and copied by recursion: 200,000 brackets once ended the process.
TEST(Fuzz, DeepNestingIsRefused) {
  constexpr int kDeep = 200'000;
  const std::string deep = std::string(kDeep, '[') + std::string(kDeep, ']');
  EXPECT_FALSE(read_tokenizer_json("{\"model\":" + deep + "}"));
  EXPECT_FALSE(read_config_json("{\"architectures\":[\"MiniMaxForCausalLM\"],\"x\":" + deep + "}"));
  EXPECT_FALSE(read_task_record("{\"id\":" + deep + "}"));
  const std::string header = "{\"a\":" + deep + "}";
  std::string file(8, '\0');
  for (size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  EXPECT_FALSE(read_safetensors(file + header));
}

}  // namespace
}  // namespace fulmen::fuzz
