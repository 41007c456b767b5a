#pragma once
// Values that a function under test returned, against the expected ones. Both are JSON; the returned one carries
// Python's further types as {"t":TYPE,"v":...} (sandboxes/python/values.py).

#include <string>
#include <vector>

namespace fulmen::reward {

// tuples are lists, a set is a list in any order, keys of a dict compare by their text, True is not 1, floats within
// 1e-9. Neither text is trusted: what does not parse is unequal.
bool values_agree(const std::string& expected, const std::string& returned);

// Data sets that wrap every expected value in a list of one (APPS, TACO): true when all agree so.
bool values_agree_wrapped(const std::vector<std::string>& expected, const std::vector<std::string>& returned);

}  // namespace fulmen::reward
