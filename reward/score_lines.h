#pragma once
// `fulmen score`: one JSON record a line in, one JSON verdict a line out, in order.
//
// Record: {"id", "data_source", "prompt", "response", "ground_truth", "extra_info"}; ground_truth may stand where verl
// has it, in reward_model.ground_truth; solution_str and completion are other names of response, answer of
// ground_truth. Verdict: {"id", "verdict": "score"|"timeout"|"error"|"unparsable", "score", "components", "detail",
// "ms"}; score is null unless the verdict is "score". A line that is no such record gives an error verdict naming the
// line; an empty line is skipped.

#include <istream>
#include <ostream>

#include "reward/reward.h"

namespace fulmen::reward {

void score_lines(std::istream& in, std::ostream& out, Function& function);

}  // namespace fulmen::reward
