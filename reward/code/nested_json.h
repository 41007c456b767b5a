#pragma once
// JSON of strangers: what programs print and what data sets hold.

#include <nlohmann/json.hpp>
#include <string>

namespace fulmen::reward {

// The value; discarded (is_discarded()) when the text is no JSON, or nested deeper than may be walked by recursion.
inline nlohmann::json try_parse(const std::string& text) {
  constexpr int kMaxDepth = 500;
  bool deep = false;
  nlohmann::json j = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
        deep |= depth > kMaxDepth;
        return depth <= kMaxDepth;
      },
      false);
  return deep ? nlohmann::json(nlohmann::json::value_t::discarded) : j;
}

}  // namespace fulmen::reward
