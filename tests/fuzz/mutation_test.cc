// Random damage to accepted files, reproducible and without a fuzzing engine, so that it runs wherever the tests run;
// under the asan preset it looks for bad memory too.
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

void mutate(std::string& bytes, std::mt19937& random) {
  auto below = [&](size_t n) { return n == 0 ? size_t{0} : random() % n; };
  const size_t at = below(bytes.size() + 1), length = std::min(below(16) + 1, bytes.size() - at);
  switch (random() % 7) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      break;
    case 1:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(below(bytes.size() + 1), bytes.substr(at, length));
      break;
    case 4:
      bytes.insert(at, kWords[below(kWords.size())]);
      break;
    case 5:
      bytes.replace(at, length, kWords[below(kWords.size())]);
      break;
    default:
      // A number takes another's place: the damage that parsers survive and checks must see.
      for (size_t i = at; i < bytes.size(); ++i)
        if (bytes[i] >= '0' && bytes[i] <= '9') {
          bytes[i] = static_cast<char>('0' + random() % 10);
          break;
        }
  }
}

void run(const std::string& name, int rounds) {
  for (const Target& target : all_targets()) {
    if (target.name != name) continue;
    std::mt19937 random(17);
    int refused = 0;
    for (const std::string& seed : target.seeds) {
      EXPECT_TRUE(target.read(seed)) << "the undamaged file is refused";
      for (size_t n = 0; n < std::min<size_t>(seed.size(), 400); ++n) refused += !target.read(seed.substr(0, n));
      for (int round = 0; round < rounds; ++round) {
        std::string bytes = seed;
        for (unsigned i = 0; i < 1 + random() % 3; ++i) mutate(bytes, random);
        refused += !target.read(bytes);
      }
    }
    EXPECT_GT(refused, rounds / 4) << "the damage does not reach the reader";
    return;
  }
  FAIL() << "no target " << name;
}

TEST(Fuzz, DamagedSafetensorsAreReadOrRefused) { run("safetensors", 4000); }
TEST(Fuzz, DamagedTokenizersAreReadOrRefused) { run("tokenizer_json", 2000); }
TEST(Fuzz, DamagedConfigsAreReadOrRefused) { run("config_json", 1500); }
TEST(Fuzz, DamagedPuzzlesAreCheckedOrRefused) { run("task_record", 400); }
TEST(Fuzz, DamagedAnswersAreJudged) { run("task_answer", 300); }

}  // namespace
}  // namespace fulmen::fuzz
