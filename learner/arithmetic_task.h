#pragma once
// The quickstart's task: integer arithmetic in several steps with worked steps and a GSM8K-style answer,
//
//   "12+7*3-5="   ->   "7*3=21;12+21=33;33-5=28;#### 28"
//
// A problem is a function of (seed, split, index). Splits are disjoint by construction: an expression whose text hashes
// to 0 mod 8 belongs to the evaluation split, every other to training.

#include <cstdint>
#include <string>

namespace fulmen::learner {

struct ArithmeticProblem {
  std::string prompt, worked, answer;
  int operations = 0;
};

// operations drawn from [min_operations, max_operations], operands 1..operand_max (factors 2..9).
ArithmeticProblem make_arithmetic(uint64_t seed, bool held_out, int64_t index, int min_operations, int max_operations,
                                  int operand_max = 5);

}  // namespace fulmen::learner
