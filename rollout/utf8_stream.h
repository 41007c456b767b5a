#pragma once
// Bytes of tokens -> text that a terminal can show at once. A character whose bytes come in several tokens is held back
// until it is whole; bytes that can never become one are shown as U+FFFD.

#include <string>
#include <string_view>

namespace fulmen::rollout {

class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what can be shown now
  std::string flush();                       // the rest, at the end

 private:
  std::string held_;  // at most three bytes, a proper beginning of a character
};

}  // namespace fulmen::rollout
