#include "reward/code/call_value.h"

#include <algorithm>
#include <cmath>

#include "reward/code/nested_json.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

constexpr double kTolerance = 1e-9;

std::string key_text(const Json& key) {
  if (key.is_string()) return key.get<std::string>();
  if (key.is_boolean()) return key.get<bool>() ? "True" : "False";
  return key.dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool agree(const Json& want, const Json& got);

bool same_list(const Json& want, const Json& got) {
  if (!want.is_array() || !got.is_array() || want.size() != got.size()) return false;
  return std::equal(want.begin(), want.end(), got.begin(), agree);
}

bool same_set(const Json& want, const Json& got) {
  if (!want.is_array() || !got.is_array() || want.size() != got.size() || want.size() > 5000) return false;
  std::vector<bool> used(got.size());
  return std::all_of(want.begin(), want.end(), [&](const Json& w) {
    for (size_t i = 0; i < got.size(); i++) {
      if (used[i] || !agree(w, got[i])) continue;
      used[i] = true;
      return true;
    }
    return false;
  });
}

bool same_dict(const Json& want, const Json& pairs) {
  if (!want.is_object() || !pairs.is_array() || want.size() != pairs.size()) return false;
  return std::all_of(pairs.begin(), pairs.end(), [&](const Json& pair) {
    if (!pair.is_array() || pair.size() != 2) return false;
    auto it = want.find(key_text(pair[0]));
    return it != want.end() && agree(*it, pair[1]);
  });
}

double float_of(const Json& j) {
  if (j.is_number()) return j.get<double>();
  const std::string text = j.is_string() ? j.get<std::string>() : "";
  return text == "inf" ? INFINITY : text == "-inf" ? -INFINITY : NAN;
}

bool tagged_agrees(const Json& want, const Json& got) {
  auto tag = got.find("t"), value = got.find("v");
  if (tag == got.end() || value == got.end() || !tag->is_string()) return false;
  const std::string t = *tag;
  if (t == "tuple") return same_list(want, *value);
  if (t == "set" || t == "frozenset") return same_set(want, *value);
  if (t == "dict") return same_dict(want, *value);
  if (t == "float") return want.is_number_float() && float_of(want) == float_of(*value);
  if (t == "named") {  // Counter, OrderedDict, defaultdict, deque: their content
    return value->is_array() && !value->empty() && agree(want, (*value)[0]);
  }
  if (t == "int") {  // a big integer, in hexadecimal; JSON readers make a double of the expected one
    const std::string hex = value->is_string() ? value->get<std::string>() : "";
    return want.is_number() && !hex.empty() && std::strtod(hex.c_str(), nullptr) == want.get<double>();
  }
  return false;
}

bool agree(const Json& want, const Json& got) {
  if (got.is_object()) return tagged_agrees(want, got);
  if (want.is_array()) return same_list(want, got);
  if (want.is_number() && got.is_number()) {
    if (want.is_number_integer() && got.is_number_integer()) return want == got;
    const double a = want.get<double>(), b = got.get<double>();
    return std::abs(a - b) <= kTolerance * std::max(1.0, std::abs(a));
  }
  return want.type() == got.type() && want == got;
}

}  // namespace

bool values_agree(const std::string& expected, const std::string& returned) {
  const Json want = try_parse(expected), got = try_parse(returned);
  return !want.is_discarded() && !got.is_discarded() && agree(want, got);
}

bool values_agree_wrapped(const std::vector<std::string>& expected, const std::vector<std::string>& returned) {
  if (expected.size() != returned.size() || expected.empty()) return false;
  for (size_t i = 0; i < expected.size(); i++) {
    const Json want = try_parse(expected[i]), got = try_parse(returned[i]);
    if (!want.is_array() || want.size() != 1 || got.is_discarded() || !agree(want[0], got)) return false;
  }
  return true;
}

}  // namespace fulmen::reward
