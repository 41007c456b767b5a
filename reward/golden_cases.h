#pragma once
// Records whose verdicts are known, to find a reward that has gone wrong before it teaches anything. A JSONL file of
// records (record_json.h), each with the "score" it must get, or the "verdict" when that is not a score.

#include <string>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct GoldenCase {
  Record record;
  Kind kind = Kind::kScore;
  double score = 0;
  std::string where;  // FILE:LINE
};

std::vector<GoldenCase> read_golden_cases(const std::string& path);  // throws Error naming file and line

std::string compare(const GoldenCase& wanted, const Verdict& got);  // empty when it is as it must be
// One line for each wrong verdict.
std::vector<std::string> check_golden_cases(const std::vector<GoldenCase>& cases, Function& function);

}  // namespace fulmen::reward
