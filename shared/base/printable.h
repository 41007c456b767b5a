#pragma once
// Text that came out of a file, as an error line shows it: on one line, not without end.

#include <string>
#include <string_view>

namespace fulmen::base {

inline std::string printable(std::string_view text, size_t limit = 200) {
  std::string out;
  for (const char c : text.substr(0, limit)) {
    if (c == '\n')
      out += "\\n";
    else
      out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return text.size() > limit ? out + "..." : out;
}

}  // namespace fulmen::base
