#pragma once
// Checks of this machine's arithmetic, as an operator runs them before trusting a node: the law (rollout and learner
// give the same bits), exactness of gradients, and controls that must see a difference. Needs no data; seconds, not
// minutes.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace fulmen::model {

struct SelfCheck {
  enum class Kind { kNoDifference, kBelow, kMustDiffer } kind = Kind::kNoDifference;
  std::string name;
  int64_t compared = 0, differ = 0;  // values; kBelow: tensors, and those over the limit
  double largest = 0, limit = 0;     // largest difference; kBelow: largest relative error and what is allowed
  std::string skipped;               // the reason; empty: it ran

  // A control that sees nothing is a failure: the comparisons could not see anything either.
  bool ok() const;
};

// Runs every check, calls `done` after each. threads: of the threaded side. Throws Error only when a check cannot run.
std::vector<SelfCheck> run_selftest(int threads, const std::function<void(const SelfCheck&)>& done);

}  // namespace fulmen::model
