#pragma once
// The built-in reward functions. The registry (registry.cc) puts them together from names; a user's function comes in
// by python_host.

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

// "math": 1 when the final answer (final_answer.h) and the ground truth are the same rational number (math_number.h),
// else 0. No answer: unparsable. A ground truth that is not a number: error. profile: "" and "strict".
std::unique_ptr<Function> make_math(const std::string& profile);

// "format": 1 when the response ends in exactly one final answer and its reasoning tags, if any, are one closed pair
// with something between, else 0.
std::unique_ptr<Function> make_format();

}  // namespace fulmen::reward
