#pragma once
// Two questions asked before a run: can the function read the ground truths of a data set (M1 kept only items whose
// truth the rule checker could parse), and which verdicts would another function change.

#include <ostream>
#include <string>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct TruthCounts {
  size_t records = 0, refused = 0;
};
// `fulmen score --golden FILE`: gives each ground truth as its own response (as it is, in a \boxed{}, in <answer> tags)
// and lists to `out` the records where none of these is accepted, with the reason. Throws Error naming a line that is
// no record.
TruthCounts check_truths(const std::string& file, Function& function, std::ostream& out);

struct DiffCounts {
  size_t records = 0, changed = 0;
};
// `fulmen score --diff OLD NEW --episodes RUN`: scores the completions under RUN/episodes (or in one JSONL file) with
// both and prints a table of what became what, and the first `shown` changes. old_function nullptr: the recorded
// verdicts.
DiffCounts diff_verdicts(const std::string& run, Function* old_function, Function& new_function, size_t shown,
                         std::ostream& out);

}  // namespace fulmen::reward
