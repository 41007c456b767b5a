#pragma once
// What counts as the same answer, where people disagree. A profile is a name and a set of switches.
//
// strict (the default): an answer has to be marked (\boxed{}, ####, <answer>, "the answer is"), has to be the last
// word, and has to be the same mathematical object, exactly: no tolerance, no rounding, 10 % is 0.1 and not 10, letters
// keep their case, (1,2) is not [1,2] and not {1,2}. Only dress may differ: LaTeX or plain text, the form of an
// expression (1/sqrt 2 or sqrt 2/2), "x =" before it, a unit that one side leaves out (two units must agree after
// conversion), the order of a bare list or a set, a list with or without braces, |x| < 2 for -2 < x < 2, "(B) 12" for B
// or for 12, a remark that k is an integer. An equation equals an equation with
// the same solutions by a constant factor; it is never cut down to its right side unless the left is a bare name.
//
// math-verify: agrees with Hugging Face's Math-Verify: an unmarked answer is looked for (last formula, else last
// number), a decimal of six or more places equals what rounds to it, bare lists are sets, a pair in brackets may be a
// set, a relation equals the set of its solutions when the ground truth is the relation, 1,5 may be 1.5.
//
// hendrycks: agrees with the MATH data set's own checker and NeMo's math_equal: the whole response is the answer when
// none is marked, a percent sign and units are dropped, bare lists are ordered.

#include <string>
#include <vector>

namespace fulmen::reward::math {

struct Profile {
  std::string name;
  bool finds_unmarked = false;   // look for an answer in a text without a marker
  bool whole_text = false;       // a text without a marker is the answer
  bool closes_braces = false;    // a brace may be missing at the end
  bool drops_percent = false;    // 10 % = 10
  bool drops_units = false;      // 10 cm = 10 apples; known units of one kind must still agree
  bool ordered_lists = false;    // 1, 2 is not 2, 1
  bool repeats_matter = true;    // 1, 1, 2 is not 1, 2
  bool tuples_as_sets = false;   // (1, 2, 3) = {3, 2, 1}
  bool relation_for_set = true;  // x < 2 for a ground truth (-oo, 2); the other way round is always fine
  bool decimal_comma = false;    // 1,5 = 1.5
  bool capital_i = false;        // I is the imaginary unit
  int rounding_digits = 0;       // decimals of at least this many places equal what rounds to them; 0: never
};

const Profile& strict_profile();

// Throws Error naming the nearest for an unknown name. Empty is strict.
const Profile& find_profile(const std::string& name);
std::vector<std::string> profile_names();

}  // namespace fulmen::reward::math
