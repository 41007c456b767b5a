#pragma once
// Answer text to a tree, by recursive descent over the lexer's tokens. Bounded by kMaxAnswerBytes, kMaxDepth and
// kMaxNodes; linear in the text up to bounded lookahead.
//
// Conventions where notation is ambiguous: a juxtaposed product binds tighter than a slash (1/2x is 1/(2x), but
// "1/2 x" is a half x), 2\frac12 and 2 1/2 are mixed numbers, f g h in front of a bracket are functions, log without a
// base has base ten, a function without brackets takes the product that follows (sin 2x), three digits behind a comma
// are thousands outside brackets.

#include <string>
#include <string_view>

#include "reward/math/expr.h"
#include "reward/math/profile.h"

namespace fulmen::reward::math {

// kNone when the text is no answer; `why` says what is the matter. Words that are no mathematics become Op::kText.
NodeId parse_answer(Tree& tree, std::string_view text, const Profile& profile, std::string& why);

// "12.5", "1e-3", "0.1(6)", "3/4" as the lexer writes numbers; false beyond kMaxExactBits.
bool read_number(std::string_view text, mpq_class& value, uint8_t& places);

}  // namespace fulmen::reward::math
