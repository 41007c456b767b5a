#pragma once
// `fulmen score`: one JSON record a line in, one JSON verdict a line out, in order (record_json.h). A line that is no
// record gives an error verdict naming the line; an empty line is skipped.

#include <istream>
#include <ostream>

#include "reward/reward.h"

namespace fulmen::reward {

void score_lines(std::istream& in, std::ostream& out, Function& function);

}  // namespace fulmen::reward
