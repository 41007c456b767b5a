#pragma once
// Where a response says its final answer: `#### 42` (GSM8K) or `\boxed{42}` (also \fbox). Work is linear in the text.

#include <optional>
#include <string_view>
#include <vector>

namespace fulmen::reward {

// What follows the last </think>; the whole text when there is no such tag; nullopt when a <think> is not closed.
std::optional<std::string_view> without_reasoning(std::string_view response);

struct FoundAnswer {
  size_t begin = 0, end = 0;  // of the marker and its answer in the text
  std::string_view answer;    // the rest of the line after ####, or what the box holds
};

// In order of appearance. A #### counts when it is exactly four and a digit stands behind it on its line; else it is a
// heading. Of nested boxes the outermost counts; a box that is not closed does not count.
std::vector<FoundAnswer> find_answers(std::string_view text);

// The answers that together are the last word: the last one, and those before it with nothing but punctuation, "or",
// "and" and the like between. More than one different answer among them is hedging. `hedged` is also set by a text that
// goes on with "or" behind the last box.
std::vector<FoundAnswer> final_answers(std::string_view text, bool& hedged);

}  // namespace fulmen::reward
