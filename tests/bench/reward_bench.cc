// Rates of the reward verifiers, one thread: verdicts a second, and how long one takes. The math rows judge real ground
// truths against a right answer, the same with other spelling, and one with another digit.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "reward/math/math_function.h"
#include "tests/bench/bench.h"

namespace fulmen::bench {
namespace {

using reward::Record;

std::vector<std::string> golden(const std::string& file, const char* field) {
  std::ifstream in(std::string(FULMEN_SOURCE_DIR) + "/tests/golden/" + file);
  FULMEN_CHECK(in.good(), "bench reward: cannot read tests/golden/" + file);
  std::vector<std::string> texts;
  for (std::string line; std::getline(in, line);) texts.push_back(nlohmann::json::parse(line).at(field));
  return texts;
}

std::string other_digit(std::string text) {
  for (char& c : text) {
    if (c < '0' || c > '9') continue;
    c = static_cast<char>('0' + (c - '0' + 1) % 10);
    break;
  }
  return text;
}

// A response of about 1 KB of reasoning and the marked answer.
Record response(const std::string& gold, const std::string& marked) {
  Record r;
  r.ground_truth = gold;
  for (int i = 0; i < 16; ++i)
    r.response += "Then $a_{n} = \\frac{1}{2} a_{n-1}$, so we go on with the next of them.\n";
  r.response += marked;
  return r;
}

void row(const char* name, reward::Function& function, const std::vector<Record>& records, const Options& options) {
  if (std::string(name).find(options.filter) == std::string::npos) return;
  Quiet quiet;
  std::vector<double> micros;
  const double start = now_seconds();
  double end = start;
  while (end - start < options.seconds_per_case || micros.size() < records.size()) {
    for (const Record& r : records) {
      const double before = now_seconds();
      function.score(r);
      end = now_seconds();
      micros.push_back(1e6 * (end - before));
    }
  }
  const double rate = static_cast<double>(micros.size()) / (end - start);
  std::sort(micros.begin(), micros.end());
  const double others = quiet.others();
  std::printf("%-34s %12.0f %12.1f %12.1f %12.1f %8.0f%%\n", name, rate, micros[micros.size() / 2],
              micros[micros.size() * 99 / 100], micros.back(), 100 * others);
  std::fflush(stdout);
}

void run(const Options& options) {
  std::printf("%-34s %12s %12s %12s %12s %9s\n", "verifier, data", "verdicts/s", "median us", "p99 us", "longest us",
              "others");
  const auto math = reward::math::make_math("");
  std::vector<Record> gsm8k, same, dressed, wrong;
  for (const std::string& gold : golden("gsm8k/answers.jsonl", "ground_truth"))
    gsm8k.push_back(response(gold, "#### " + gold));
  for (const std::string& gold : golden("math/answers.jsonl", "gold")) {
    same.push_back(response(gold, "So the answer is $\\boxed{" + gold + "}$."));
    dressed.push_back(response(gold, "So the answer is $\\boxed{x = \\left. " + gold + " \\right.}$."));
    wrong.push_back(response(gold, "So the answer is $\\boxed{" + other_digit(gold) + "}$."));
  }
  row("math, GSM8K answers", *math, gsm8k, options);
  row("math, MATH answers, right", *math, same, options);
  row("math, MATH answers, other spelling", *math, dressed, options);
  row("math, MATH answers, other digit", *math, wrong, options);
}

const bool kRegistered = register_table("reward", "verdicts of the reward verifiers, one thread", run);

}  // namespace
}  // namespace fulmen::bench
