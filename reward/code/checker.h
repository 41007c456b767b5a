#pragma once
// Whether a program's output is the expected one. Here, outside every jail: expected outputs never enter one.

#include <string>
#include <string_view>

namespace fulmen::reward {

struct Checker {
  enum class Kind {
    kAuto,    // tokens; a token that is expected with a decimal point or an exponent may differ by `tolerance`
    kExact,   // the same lines; white space at the ends of lines and of the text is free
    kTokens,  // the same words between white space
    kFloat,   // as kTokens, every number within the tolerance
    kCustom,  // `source`, a Python function check(input, expected, output) -> bool, run in a jail of its own
  };
  Kind kind = Kind::kAuto;
  double tolerance = 1e-6;  // absolute, or relative to the expected number
  std::string source;
};

// Not for kCustom.
bool outputs_agree(const Checker& checker, std::string_view expected, std::string_view got);

// The first place where they part, for people: `line 2: got "4", want "5"`.
std::string first_difference(std::string_view expected, std::string_view got);

}  // namespace fulmen::reward
