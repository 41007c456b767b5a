#pragma once
// The math reward: 1 when the final answer of a response is the same as the ground truth, else 0.
//
// Verdicts: `score` with what was compared in the detail; `unparsable` when the response has no answer (nothing marked,
// or a <think> that is not closed) and, with "ground_truth" first in the detail, when the ground truth is empty or not
// understood; `undecided` when the budget or the precision ends before a proof. An answer that is there but not
// understood is wrong. The verdict depends on the texts alone: no clock, no signals, no state between calls.

#include <memory>
#include <string>
#include <string_view>

#include "reward/reward.h"

namespace fulmen::reward::math {

// profile: see profile.h; empty is strict. A record may name another one in extra_info.profile. Throws Error for an
// unknown name, naming the nearest. One function must not be called by two threads at once.
std::unique_ptr<Function> make_math(const std::string& profile);

// Whether a ground truth is understood, alone or at the end of a worked solution; else `why` says what is the matter.
bool gold_is_parsable(std::string_view text, const std::string& profile, std::string& why);

}  // namespace fulmen::reward::math
