#include "shared/base/config.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>
#include <set>

#include "shared/base/config_keys.h"
#include "shared/base/file.h"
#include "shared/base/printable.h"

namespace fulmen::base {
namespace {

// One value as written by the user.
struct Setting {
  std::string key, text;                     // text: a scalar
  std::vector<std::string> items;            // of a list
  std::vector<std::vector<Setting>> tables;  // of a list of small tables (data.mix)
  bool is_list = false;
  std::string where;  // FILE:LINE or "command line"
};

[[noreturn]] void reject(const Setting& s, const std::string& what) { throw ConfigError(what + " [" + s.where + "]"); }

[[noreturn]] void reject_value(const Setting& s, const Key& key) {
  const std::string got = !s.tables.empty() ? "a list of tables"
                          : s.is_list       ? fmt::format("the list [{}]", fmt::join(s.items, ", "))
                                            : "\"" + s.text + "\"";
  reject(s, fmt::format("{}: got {}, want {}", s.key, got, type_of(key)));
}

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> items;
  for (size_t begin = 0; begin <= text.size() && !text.empty();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    items.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return items;
}

template <class T>
void set_number(const Setting& s, const Key& key, T& out) {
  T value{};
  const char* end = s.text.data() + s.text.size();
  const auto [stop, code] = std::from_chars(s.text.data(), end, value);
  if (s.is_list || code != std::errc() || stop != end) reject_value(s, key);
  const double wide = static_cast<double>(value);
  if (!(wide >= key.low && wide <= key.high)) reject_value(s, key);  // also refuses nan
  out = value;
}

void set_text(const Setting& s, const Key& key, std::string& out) {
  const bool allowed = key.choices.empty() || std::count(key.choices.begin(), key.choices.end(), s.text) != 0;
  if (s.is_list || !allowed) reject_value(s, key);
  out = s.text;
}

void set_flag(const Setting& s, const Key& key, bool& out) {
  if (s.is_list || (s.text != "true" && s.text != "false")) reject_value(s, key);
  out = s.text == "true";
}

// Entries of data.mix; each key once, checked like any other.
void set_mix(const Setting& s, const Key& key, std::vector<MixEntry>& out) {
  if (!s.is_list || !s.items.empty()) reject_value(s, key);
  out.clear();
  for (const std::vector<Setting>& table : s.tables) {
    MixEntry entry;
    std::vector<Key> keys{{"task", &entry.task, 0, 0, {}, ""},
                          {"file", &entry.file, 0, 0, {}, ""},
                          {"difficulty", &entry.difficulty, 0, 0, {}, ""},
                          {"weight", &entry.weight, 0, 1e6, {}, ""}};
    std::set<std::string> seen;
    for (Setting field : table) {
      const auto known = std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == field.key; });
      const std::string place = fmt::format("{}[{}].", s.key, out.size());
      if (known == keys.end()) {
        const std::string near = nearest(field.key, {"task", "file", "difficulty", "weight"});
        reject(field,
               fmt::format("unknown key {}{}{}", place, field.key, near.empty() ? "" : ", did you mean " + near + "?"));
      }
      if (!seen.insert(field.key).second) reject(field, place + field.key + " is given twice");
      field.key = place + field.key;
      if (auto* text = std::get_if<std::string*>(&known->member))
        set_text(field, *known, **text);
      else
        set_number(field, *known, *std::get<float*>(known->member));
    }
    out.push_back(std::move(entry));
  }
}

void set_member(const Setting& s, const Key& key) {
  if (auto* m = std::get_if<std::vector<MixEntry>*>(&key.member)) return set_mix(s, key, **m);
  if (!s.tables.empty()) reject_value(s, key);
  if (auto* m = std::get_if<std::string*>(&key.member)) return set_text(s, key, **m);
  if (auto* m = std::get_if<bool*>(&key.member)) return set_flag(s, key, **m);
  if (auto* m = std::get_if<int*>(&key.member)) return set_number(s, key, **m);
  if (auto* m = std::get_if<int64_t*>(&key.member)) return set_number(s, key, **m);
  if (auto* m = std::get_if<float*>(&key.member)) return set_number(s, key, **m);
  *std::get<std::vector<std::string>*>(key.member) = s.is_list ? s.items : split_at_commas(s.text);
}

// "workers" alone is a natural slip: when no whole key is near, a key that ends in the word is.
std::string suggest(const std::string& word, const std::vector<Key>& keys) {
  std::vector<std::string> names;
  names.reserve(keys.size());
  for (const Key& key : keys) names.push_back(key.name);
  std::string near = nearest(word, names);
  if (!near.empty()) return near;
  const std::string ending = "." + word.substr(word.rfind('.') + 1);
  const auto match =
      std::find_if(names.begin(), names.end(), [&](const std::string& n) { return n.ends_with(ending); });
  return match == names.end() ? "" : *match;
}

void apply(const Setting& s, const std::vector<Key>& keys, Config& c) {
  const auto key = std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name == s.key; });
  if (key == keys.end()) {
    const auto inside =
        std::find_if(keys.begin(), keys.end(), [&](const Key& k) { return k.name.starts_with(s.key + "."); });
    if (inside != keys.end()) reject(s, s.key + " is a section, want keys under it, e.g. " + inside->name);
    const std::string near = suggest(s.key, keys);
    reject(s, "unknown key " + s.key + (near.empty() ? "" : ", did you mean " + near + "?"));
  }
  set_member(s, *key);
  c.origin[s.key] = s.where;
}

std::string place(const std::string& path, const YAML::Mark& mark) { return fmt::format("{}:{}", path, mark.line + 1); }

// The members of a list: plain values, or tables of plain values.
void read_list(const YAML::Node& list, const std::string& path, Setting& s) {
  s.is_list = true;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].IsMap()) {
      s.tables.emplace_back();
      for (const auto& field : list[i]) {
        Setting f;
        f.where = path.empty() ? s.where : place(path, field.first.Mark());
        if (!field.first.IsScalar() || !field.second.IsScalar()) reject(s, s.key + ": want KEY: VALUE in each table");
        f.key = field.first.Scalar();
        f.text = field.second.Scalar();
        s.tables.back().push_back(std::move(f));
      }
    } else if (list[i].IsScalar()) {
      s.items.push_back(list[i].Scalar());
    } else {
      reject(s, s.key + ": a list holds plain values or tables only");
    }
  }
  if (!s.tables.empty() && !s.items.empty()) reject(s, s.key + ": a list holds plain values or tables, not both");
}

void flatten(const YAML::Node& node, const std::string& prefix, const std::string& path, std::vector<Setting>& out) {
  for (const auto& entry : node) {
    Setting s;
    s.where = place(path, entry.first.Mark());
    if (!entry.first.IsScalar()) reject(s, "a key must be a word");
    s.key = prefix + entry.first.Scalar();
    const YAML::Node& value = entry.second;
    if (value.IsMap()) {
      flatten(value, s.key + ".", path, out);
      continue;
    }
    if (value.IsNull()) {
      if (prefix.empty() && s.key.find('.') == std::string::npos) continue;  // "rollout:" with nothing under it
      reject(s, s.key + " has no value");
    }
    if (value.IsScalar()) s.text = value.Scalar();
    if (value.IsSequence()) read_list(value, path, s);
    out.push_back(std::move(s));
  }
}

std::vector<Setting> read_settings(const std::string& path) {
  std::vector<Setting> settings;
  YAML::Node root;
  try {
    root = YAML::Load(read_file(path));
  } catch (const Error& e) {
    throw ConfigError(e.what());
  } catch (const YAML::Exception& e) {
    throw ConfigError("not YAML: " + e.msg + " [" + place(path, e.mark) + "]");
  }
  if (root.IsNull()) return settings;
  if (!root.IsMap()) throw ConfigError("want sections with keys under them [" + place(path, root.Mark()) + "]");
  flatten(root, "", path, settings);
  std::set<std::string> seen;
  for (const Setting& s : settings) {
    if (!seen.insert(s.key).second) reject(s, s.key + " is given twice");
  }
  return settings;
}

Setting read_override(const std::string& argument) {
  Setting s;
  s.where = "command line";
  const size_t equals = argument.find('=');
  if (equals == std::string::npos || equals == 0) reject(s, "got \"" + argument + "\", want key.path=value");
  s.key = argument.substr(0, equals);
  s.text = argument.substr(equals + 1);
  if (s.text.empty() || s.text.front() != '[') return s;
  try {  // a list in YAML's own form, so that items may be quoted
    read_list(YAML::Load(s.text), "", s);
  } catch (const YAML::Exception& e) {
    reject(s, s.key + ": got " + s.text + ", want a list like [a, \"b c\"]: " + e.msg);
  }
  return s;
}

// `text` as written in a file of `directory`: seen from the working directory, or else from the file's own.
void look_beside(const std::filesystem::path& directory, std::string& text) {
  if (text.empty() || std::filesystem::path(text).is_absolute() || std::filesystem::exists(text)) return;
  const std::filesystem::path beside = directory / text;
  if (std::filesystem::exists(beside)) text = beside.lexically_normal();
}

// python:FILE:FUNCTION and c:FILE, with options in brackets and =WEIGHT behind.
void look_beside_function(const std::filesystem::path& directory, std::string& function) {
  for (const std::string kind : {"python:", "c:"}) {
    if (!function.starts_with(kind)) continue;
    const size_t end = std::min(function.find_first_of(":(=", kind.size()), function.size());
    std::string file = function.substr(kind.size(), end - kind.size());
    look_beside(directory, file);
    function = kind + file + function.substr(end);
  }
}

void look_beside_file(const std::filesystem::path& directory, Config& c) {
  for (std::string* path :
       {&c.model.path, &c.model.tokenizer, &c.data.train, &c.data.eval, &c.sft.data, &c.reward.golden})
    look_beside(directory, *path);
  for (MixEntry& source : c.data.mix) look_beside(directory, source.file);
  for (std::string& function : c.reward.functions) look_beside_function(directory, function);
}

// Edits (insert, delete, replace, swap of neighbours) that turn a into b.
size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, (word.size() + 1) / 3) + 1;  // farther than this is a different word
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

Config load_config(const std::string& path, const std::vector<std::string>& overrides) try {
  Config c;
  const std::vector<Key> keys = visit_config(c);
  for (const Key& key : keys) c.origin[key.name] = "default";
  if (!path.empty()) {
    for (const Setting& s : read_settings(path)) apply(s, keys, c);
    look_beside_file(std::filesystem::path(path).parent_path(), c);
  }
  for (const std::string& argument : overrides) apply(read_override(argument), keys, c);
  check_config(c);
  return c;
} catch (const ConfigError& e) {  // it may quote what the file holds
  throw ConfigError(printable(e.what(), 1000));
}

}  // namespace fulmen::base
