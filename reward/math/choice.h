#pragma once
// Multiple choice: "B", "(B)", "\text{(B) }", "option B", "B. 12". And what an answer may say about its own parameter:
// "k\pi, k \in \mathbb{Z}".

#include <optional>
#include <string>
#include <string_view>

namespace fulmen::reward::math {

struct Choice {
  char letter = 0;   // A..J
  std::string rest;  // what is said behind it, trimmed; may be empty
};

// A text that is one letter, or begins with one set off by brackets, a full stop, a colon or words around it. nullopt
// for anything else, and for a text that names a second letter or goes on with "or" or "and".
std::optional<Choice> read_choice(std::string_view text);

struct Parameter {
  std::string text;  // without the remark
  std::string name;  // of the parameter; empty when there is no remark
};

// Takes a remark off the end that a name used before it is any integer or natural number: ", k \in \mathbb{Z}" or
// "(n \in N^*)".
Parameter without_domain(std::string_view text);

}  // namespace fulmen::reward::math
