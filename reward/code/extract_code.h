#pragma once
// The program in a response: the last fenced block (```python ... ```) of the language, else the last block without a
// language, else the last block; the inside of the last <answer> tags, or the whole text, when there is no fence. Where
// the function under test is known, blocks that define it come first: a later one shows how it is used. A fence that is
// not closed runs to the end.
// Work is linear in the text.

#include <string>
#include <string_view>
#include <vector>

namespace fulmen::reward {

// "py", "python3" -> "python"; "c++", "cc" -> "cpp"; "sh", "bash" -> "shell"; others as they are, in lower case.
std::string language_name(std::string_view word);

// "" when there is nothing but white space.
// entry: "f", "Solution().f", or "" when nothing is called by name.
std::string extract_code(std::string_view response, const std::string& language, const std::string& entry = "");

// The function that the first of these assertions calls: the entry where none is named; "" when it cannot be told.
std::string name_under_test(const std::vector<std::string>& asserts);

// The last block tagged diff or patch, else extract_code's choice: for the repository form.
std::string extract_patch(std::string_view response);

}  // namespace fulmen::reward
