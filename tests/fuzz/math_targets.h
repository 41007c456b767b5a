#pragma once
// The math verifier under foreign bytes. Each returns whether the bytes were understood; a crash, an exception, or a
// broken promise is a defect. Seeds are pairs as read_math_pair() wants them.

#include <string>
#include <string_view>
#include <vector>

namespace fulmen::fuzz {

// Any text as an answer: parsed, spelled, compared with itself (equal, unless the budget ends).
bool read_math_answer(std::string_view bytes);

// One byte for the profile, the ground truth, a NUL, the response: the verdict is the same every time, a score of 0 or
// 1 or another kind, with a short detail.
bool read_math_pair(std::string_view bytes);

std::vector<std::string> math_pair_seeds();

}  // namespace fulmen::fuzz
