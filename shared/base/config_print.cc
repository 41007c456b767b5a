#include <fmt/format.h>

#include "shared/base/config.h"
#include "shared/base/config_keys.h"
#include "shared/base/file.h"

namespace fulmen::base {
namespace {

std::string section_of(const std::string& key) { return key.substr(0, key.find('.')); }
std::string leaf_of(const std::string& key) { return key.substr(key.find('.') + 1); }

}  // namespace

std::string to_yaml(const Config& c, bool with_origin) {
  Config copy = c;  // the key list points into a mutable Config
  std::string text, section;
  for (const Key& key : visit_config(copy)) {
    if (section_of(key.name) != section) {
      section = section_of(key.name);
      text += section + ":\n";
    }
    std::string line = fmt::format("  {}: {}", leaf_of(key.name), value_of(key));
    if (with_origin) {
      const auto origin = c.origin.find(key.name);
      line = fmt::format("{:<44}  # {}", line, origin == c.origin.end() ? "default" : "from " + origin->second);
    }
    text += line + "\n";
  }
  return text;
}

std::string config_hash(const Config& c) {
  Config without_dir = c;
  without_dir.run.dir.clear();
  const std::string text = to_yaml(without_dir, false);
  return hex(digest128(text.data(), text.size()));
}

std::map<std::string, std::string> config_values(const Config& c) {
  Config copy = c;
  std::map<std::string, std::string> values;
  for (const Key& key : visit_config(copy)) values[key.name] = value_of(key);
  values.erase("run.dir");
  return values;
}

std::vector<std::string> config_differences(const std::map<std::string, std::string>& left,
                                            const std::map<std::string, std::string>& right) {
  std::vector<std::string> differences;
  for (const auto& [name, value] : left) {
    const auto other = right.find(name);
    if (other == right.end() || other->second != value)
      differences.push_back(fmt::format("{}: {} | {}", name, value, other == right.end() ? "absent" : other->second));
  }
  return differences;
}

std::string config_help() {
  Config defaults;
  std::string text;
  for (const Key& key : visit_config(defaults)) {
    text += fmt::format("{:<30} {:<12} {:<28} {}\n", key.name, value_of(key), type_of(key), key.sentence);
  }
  return text;
}

}  // namespace fulmen::base
