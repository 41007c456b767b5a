#pragma once
// Sequences of brackets, shared by the three dyck kinds.

#include <string>

#include "shared/task/random.h"

namespace fulmen::task {

inline constexpr char kOpening[] = "([{<", kClosing[] = ")]}>";

inline bool is_opening(char c) { return c != '\0' && std::string(kOpening).find(c) != std::string::npos; }
inline char closing_of(char c) { return kClosing[std::string(kOpening).find(c)]; }

// A balanced sequence of 2 * pairs brackets of the first `types` types.
inline std::string balanced(Random& random, int pairs, int types) {
  std::string sequence, open;
  for (int left = 2 * pairs; left > 0; --left) {
    const bool must_close = static_cast<int>(open.size()) == left, must_open = open.empty();
    if (must_open || (!must_close && random.chance(55))) {
      sequence += kOpening[random.below(static_cast<size_t>(types))];
      open += sequence.back();
    } else {
      sequence += closing_of(open.back());
      open.pop_back();
    }
  }
  return sequence;
}

}  // namespace fulmen::task
