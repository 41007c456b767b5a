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
// `fulmen score --golden FILE`: lists to `out` the records that no response could be scored on, as FILE:LINE: REASON,
// and their count (Function::truth_problem; a line that is no record is one of them). Math: the ground truth is
// parsable and is its own answer. Code: there are tests, they are well-formed, and an empty program does not pass them.
// Logic: the puzzle is one, and its gold answer follows the rules. Throws Error when there is nothing to check.
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
