#pragma once
// Several reward functions as one: the weighted sum of their scores, each score kept apart under its function's name.
// Here, and nowhere else, the reasoning is cut off for the functions that do not want it.

#include <memory>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct Weighted {
  std::unique_ptr<Function> function;
  double weight = 1;
};

// The first function (in order) whose verdict is not a score decides the kind: a sum with a part missing would be a
// silent wrong score. What a function throws is an error verdict.
std::unique_ptr<Function> make_weighted_sum(std::vector<Weighted> parts);

}  // namespace fulmen::reward
