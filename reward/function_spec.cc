#include "reward/function_spec.h"

#include <fmt/core.h>

#include <cmath>
#include <cstdlib>
#include <sstream>
#include <vector>

#include "kernels/error.h"
#include "shared/base/config.h"

namespace fulmen::reward {
namespace {

constexpr const char* kNameLetters = "abcdefghijklmnopqrstuvwxyz_";

bool read_number(const std::string& text, double& value) {
  char* end = nullptr;
  value = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0';
}

}  // namespace

FunctionSpec::FunctionSpec(const std::string& whole) : text_(whole) {
  std::string text = whole;
  take_weight(text);
  take_options(text);
  const size_t colon = text.find(':');
  name_ = text.substr(0, colon);
  if (colon != std::string::npos) argument_ = text.substr(colon + 1);
  if (name_ == "http" || name_ == "https") argument_ = text;
}

// What stands behind the last "=" of a file name or an address is not a number.
void FunctionSpec::take_weight(std::string& text) {
  const size_t equals = text.rfind('=');
  if (equals == std::string::npos || !read_number(text.substr(equals + 1), weight_)) {
    weight_ = 1;
    return;
  }
  FULMEN_CHECK(std::isfinite(weight_), "reward function " + text_ + ": the weight is not a finite number");
  text.resize(equals);
}

// Brackets at the end count only when all in them is key=value: a program's arguments may have brackets of their own.
void FunctionSpec::take_options(std::string& text) {
  const size_t open = text.rfind('(');
  if (open == std::string::npos || open == 0 || text.back() != ')') return;
  std::string inside = text.substr(open + 1, text.size() - open - 2);
  for (char& c : inside)
    if (c == ',') c = ' ';
  std::map<std::string, std::string> options;
  std::istringstream words(inside);
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos || equals == 0 || word.find_first_not_of(kNameLetters) < equals) return;
    options[word.substr(0, equals)] = word.substr(equals + 1);
  }
  options_ = std::move(options);
  text.resize(open);
}

std::string FunctionSpec::text(const std::string& key, const std::string& fallback) {
  asked_.insert(key);
  const auto at = options_.find(key);
  return at == options_.end() ? fallback : at->second;
}

double FunctionSpec::number(const std::string& key, double fallback, double low, double high) {
  asked_.insert(key);
  const auto at = options_.find(key);
  if (at == options_.end()) return fallback;
  double value = 0;
  FULMEN_CHECK(
      read_number(at->second, value) && value >= low && value <= high,
      fmt::format("reward function {}: {}: got {}, want a number in {}..{}", text_, key, at->second, low, high));
  return value;
}

void FunctionSpec::finish() const {
  for (const auto& [key, value] : options_) {
    if (asked_.count(key) != 0) continue;
    const std::string near = base::nearest(key, {asked_.begin(), asked_.end()});
    std::string known;
    for (const std::string& k : asked_) known += (known.empty() ? "" : ", ") + k;
    throw Error(fmt::format("reward function {}: {} has no option {}{} (known: {})", text_, name_, key,
                            near.empty() ? "" : ", did you mean " + near, known.empty() ? "none" : known));
  }
}

}  // namespace fulmen::reward
