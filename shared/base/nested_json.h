#pragma once
// JSON of strangers: data sets, tokenizers, configs. nlohmann's values are printed, copied and compared by recursion,
// so that a line of 200,000 brackets overflows the stack of whoever does so; nested deeper than kMaxJsonDepth it is
// refused.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "kernels/error.h"

namespace fulmen::base {

inline constexpr int kMaxJsonDepth = 200;

// Throws Error for what is nested deeper than `depth`, Json::parse_error for what is no JSON.
template <class Json>
Json parse_nested(std::string_view text, int depth, const std::string& where = "") {
  return Json::parse(text.begin(), text.end(), [&](int at, typename Json::parse_event_t, Json&) {
    FULMEN_CHECK(at <= depth, where + "nested deeper than " + std::to_string(depth));
    return true;
  });
}

// Throws Error "WHERE: not JSON: ..." or "WHERE: nested deeper than 200".
template <class Json = nlohmann::json>
Json parse_json(std::string_view text, const std::string& where) {
  try {
    return parse_nested<Json>(text, kMaxJsonDepth, where + ": ");
  } catch (const typename Json::exception& e) {
    throw Error(where + ": not JSON: " + e.what());
  }
}

}  // namespace fulmen::base
