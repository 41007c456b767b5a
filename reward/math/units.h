#pragma once
// Words around mathematics: units and what they convert to, scales (million), answers in words.

#include <gmpxx.h>

#include <string>
#include <string_view>
#include <vector>

#include "reward/math/expr.h"
#include "reward/math/lexer.h"

namespace fulmen::reward::math {

// 1000 for "thousand" and so on; 0 for anything else.
mpq_class scale_word(std::string_view word);

// Words that say more than a unit does (dozen, or, more, minus ...): an answer that goes on with one is no value with a
// unit.
bool is_no_unit(std::string_view word);

// One spelling of a unit: lower case (except where case tells units apart), plurals and abbreviations resolved, filler
// words gone. Empty when nothing but filler is left.
std::string fold_unit(std::string_view unit);

enum class UnitMatch { kSame, kConvertible, kClash, kUnrelated };

// How two folded units compare; `factor` times a value in `a` is the value in `b`. kUnrelated: at least one is a word
// that is no measure (apples).
UnitMatch match_units(const std::string& a, const std::string& b, mpq_class& factor);

// Tokens [begin, end) as one line: words in lower case, single letters as they are, punctuation dropped.
std::string fold_words(const std::vector<Token>& tokens, size_t begin, size_t end);

// A folded text as a value: number words, "no solution", "all real numbers", a single letter; else kText.
NodeId phrase(Tree& tree, const std::string& folded);

}  // namespace fulmen::reward::math
