#pragma once
// LaTeX, Unicode and plain text to tokens: one spelling for everything that is written in several ways. Dress (\left,
// thin spaces, dollars, colours, Markdown stars) is dropped here. Work is linear in the text; the text of tokens is
// owned by them.

#include <string>
#include <string_view>
#include <vector>

#include "reward/math/expr.h"

namespace fulmen::reward::math {

enum class Tok : uint8_t {
  kNumber,    // text: 12, 1.5, 1e-7, 1.5e3, 1/2 (a vulgar fraction), 0.1(6) (repeating)
  kLetter,    // text: one letter or the name of a Greek one: a variable
  kWord,      // text: a word, as written
  kFunction,  // code: Fn
  kSign,      // code: a character or one of Sign
  kAccent,    // text: bar, vec, hat ...: applies to what follows
  kBegin,     // text: name of the environment
  kEnd,
  kStop,
};

enum Sign : int {  // beyond the characters themselves
  kFirstSign = 256,
  kLe,
  kGe,
  kNe,
  kApproxSign,
  kInSign,
  kNotInSign,
  kSubsetSign,
  kSupersetSign,
  kArrowSign,
  kEquivSign,
  kCup,
  kCap,
  kSetminus,
  kPm,
  kMp,
  kInf,
  kDegreeSign,
  kFracSign,
  kSqrtSign,
  kBinomSign,
  kChooseSign,
  kModSign,
  kOpenSet,
  kCloseSet,
  kOpenFloor,
  kCloseFloor,
  kOpenCeil,
  kCloseCeil,
  kOpenAbs,
  kCloseAbs,
  kOrSign,
  kAndSign,
  kEmptySign,
  kPiSign,
  kESign,
  kISign,
  kNamedSetSign,
  kSumSign,
  kProdSign,
  kIntSign,
  kLimSign,
  kRowBreak,
  kTransposeSign,
  kVariableSign,
  kDollarSign,
  kNegateSign,
  kDotsSign,
  kDifferentialSign,
  kOverSign,
};

struct Token {
  Tok kind = Tok::kStop;
  int code = 0;
  bool space = false;    // white space before it
  bool in_text = false;  // stood in \text{} or its kin
  bool grouped = false;  // a number with thousands separated by plain commas
  std::string text;

  bool is(int sign) const { return kind == Tok::kSign && code == sign; }
};

// False, with the reason in `why`, for what no answer has: too long, control and direction characters.
bool lex(std::string_view text, std::vector<Token>& tokens, std::string& why);

// Tokens of one \command (without backslash) that is a sign, letter or function; used by the tables.
bool known_command(std::string_view name, Token& token);
bool known_function_word(std::string_view word, Token& token);
bool is_short_unit(std::string_view word);

}  // namespace fulmen::reward::math
