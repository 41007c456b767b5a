#pragma once
// `fulmen replay`: one recorded step of a run again, from the checkpoint before it, in a directory of its own. A run is
// a function of its config and seed, so the episodes, the numbers and the weights must come out with the same bits; the
// first that does not is named.

#include <cstdint>
#include <string>
#include <vector>

namespace fulmen::learner {

struct Replay {
  bool same = false;
  std::string text;  // what was compared, line by line, for people
};

// overrides: keys that may change the speed but not the result (rollout.workers, learner.ranks, ...). Throws Error when
// no checkpoint lies before `step`, naming the steps that can be replayed.
Replay replay_step(const std::string& run_dir, int64_t step, const std::vector<std::string>& overrides);

// How `got` (a run that was continued from checkpoint `from` to `step`) compares with what `want` recorded.
Replay compare_step(const std::string& want, const std::string& got, int64_t step);

}  // namespace fulmen::learner
