#pragma once
// Where a response says its final answer: `#### 42` (GSM8K), `\boxed{42}` (also \fbox), `<answer>42</answer>`, else
// "the answer is 42". Work is linear in the text.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fulmen::reward::math {

// What follows the last </think>; the whole text when there is no such tag; nullopt when a <think> is not closed.
std::optional<std::string_view> without_reasoning(std::string_view response);

struct FoundAnswer {
  size_t begin = 0, end = 0;  // of the marker and its answer in the text
  std::string_view answer;    // the rest of the line after ####, or what the box or tag holds
};

// In order of appearance. A #### counts when it is exactly four and a digit, a dollar, a backslash or nothing but a
// letter stands behind it on its line; else it is a heading. Of nested boxes the outermost counts; a box that is not
// closed does not count.
std::vector<FoundAnswer> find_answers(std::string_view text);

// The answers that together are the last word: the last one, and those before it with nothing but punctuation, "or",
// "and" and the like between. `hedged` is set when the text goes on with "or" behind the last one.
std::vector<FoundAnswer> final_answers(std::string_view text, bool& hedged);

// Behind the last "the answer is", "answer:" and the like, below a heading "Final Answer", up to the end of the
// sentence; empty when there is none.
std::string_view announced_answer(std::string_view text);

// For texts without a marker: the last formula ($..$, \(..\), \[..\]), else the whole text when it is one short line
// without prose, else the last number. Empty when there is none of them. Formulas side by side come back as a list.
std::string unmarked_answer(std::string_view text);

// A last \boxed{ whose brace is not closed; empty when there is none.
std::string_view open_box(std::string_view text);

// The text of an answer out of several that together are the last word: one, or a bare list.
std::string joined(const std::vector<FoundAnswer>& finals);

}  // namespace fulmen::reward::math
