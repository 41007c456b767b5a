#pragma once
// One piece of random damage to `bytes`, reproducible; `words` are what the damaged format is made of.

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace fulmen::fuzz {

inline void mutate(std::string& bytes, const std::vector<std::string>& words, std::mt19937& random) {
  auto below = [&](size_t n) { return n == 0 ? size_t{0} : random() % n; };
  const size_t at = below(bytes.size() + 1), length = std::min(below(16) + 1, bytes.size() - at);
  switch (random() % 7) {
    case 0:
      if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      break;
    case 1:
      if (at < bytes.size()) bytes[at] = static_cast<char>(random());
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(below(bytes.size() + 1), bytes.substr(at, length));
      break;
    case 4:
      bytes.insert(at, words[below(words.size())]);
      break;
    case 5:
      bytes.replace(at, length, words[below(words.size())]);
      break;
    default:
      // A number takes another's place: the damage that parsers survive and checks must see.
      for (size_t i = at; i < bytes.size(); ++i)
        if (bytes[i] >= '0' && bytes[i] <= '9') {
          bytes[i] = static_cast<char>('0' + random() % 10);
          break;
        }
  }
}

}  // namespace fulmen::fuzz
