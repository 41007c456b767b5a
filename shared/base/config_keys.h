#pragma once
// The one list of configuration keys. Parse, overrides, help, print and hash all walk it; nothing else knows a key's
// name.

#include <string>
#include <variant>
#include <vector>

#include "shared/base/config.h"

namespace fulmen::base {

using Member =
    std::variant<std::string*, std::vector<std::string>*, std::vector<MixEntry>*, bool*, int*, int64_t*, float*>;

struct Key {
  std::string name;                  // dotted: section.key
  Member member;                     // into the Config the list was made from
  double low = 0, high = 0;          // numbers: inclusive
  std::vector<std::string> choices;  // strings: empty = any text
  std::string sentence;
};

// Pointers stay good as long as `c` neither moves nor dies.
std::vector<Key> visit_config(Config& c);

std::string type_of(
    const Key& key);  // "integer in 1..64", "number in 0..1", "shm | zmq", "text", "list", "true | false"
std::string value_of(const Key& key);  // as YAML on one line: 1e-15, [a, "b c"], "\n"

}  // namespace fulmen::base
