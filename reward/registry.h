#pragma once
// The names of reward functions, and which function scores a record that does not say.

#include <string>

namespace fulmen::reward {

std::string function_usage();  // one line a function, for --help

// The function for a record's `kind`, or when that is empty for its `data_source` (gsm8k, openai/humaneval, ...); math
// when both are empty. Throws Error naming what is not known, with the nearest.
std::string function_of_kind(const std::string& kind, const std::string& data_source);

}  // namespace fulmen::reward
