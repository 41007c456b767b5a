#include "shared/launch/arguments.h"

#include <fmt/format.h>

#include <algorithm>

#include "shared/base/config.h"

namespace fulmen::launch {
namespace {

[[noreturn]] void reject(const Usage& usage, const std::string& what) {
  throw UsageError(fmt::format("{}: {} (fulmen {} --help shows how)", usage.verb, what, usage.verb));
}

const Option& find_option(const Usage& usage, const std::string& name) {
  const auto match = std::find_if(usage.options.begin(), usage.options.end(), [&](auto& o) { return o.name == name; });
  if (match != usage.options.end()) return *match;
  std::vector<std::string> names{"--help"};
  for (const Option& option : usage.options) names.push_back(option.name);
  const std::string near = base::nearest(name, names);
  reject(usage, "unknown option " + name + (near.empty() ? "" : ", did you mean " + near + "?"));
}

}  // namespace

Arguments parse_arguments(const Usage& usage, const std::vector<std::string>& words) {
  Arguments a;
  a.help = std::any_of(words.begin(), words.end(), [](const std::string& w) { return w == "--help" || w == "-h"; });
  if (a.help) return a;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i].size() < 2 || words[i][0] != '-') {
      a.positionals.push_back(words[i]);
      continue;
    }
    const size_t equals = words[i].find('=');
    const Option& option = find_option(usage, words[i].substr(0, equals));
    std::string value;
    if (equals != std::string::npos) {
      if (option.value_name.empty()) reject(usage, option.name + " takes no value");
      value = words[i].substr(equals + 1);
    } else if (!option.value_name.empty()) {
      if (i + 1 == words.size()) reject(usage, option.name + " wants a value: " + option.value_name);
      value = words[++i];
    }
    a.options[option.name] = value;
  }
  const auto required = std::count_if(usage.positionals.begin(), usage.positionals.end(),
                                      [](const std::string& p) { return p.front() != '['; });
  if (a.positionals.size() < static_cast<size_t>(required))
    reject(usage, usage.positionals[a.positionals.size()] + " is missing");
  if (a.positionals.size() > usage.positionals.size())
    reject(usage, "one word too many: " + a.positionals[usage.positionals.size()]);
  return a;
}

std::string usage_text(const Usage& usage) {
  std::string text = fmt::format("fulmen {} {}{}\n\n{}\n", usage.verb, fmt::join(usage.positionals, " "),
                                 usage.options.empty() ? "" : " [options]", usage.summary);
  if (!usage.options.empty()) text += "\n";
  for (const Option& o : usage.options) {
    text += fmt::format("  {:<22}{}\n", o.value_name.empty() ? o.name : o.name + " " + o.value_name, o.sentence);
  }
  return text;
}

}  // namespace fulmen::launch
