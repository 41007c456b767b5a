#include "sandboxes/profile.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <functional>
#include <sstream>

#include "sandboxes/builtin.h"
#include "sandboxes/error.h"

namespace fulmen::sandboxes {
namespace {

using Setters = std::map<std::string, std::function<void(const YAML::Node&)>>;

void read_map(const YAML::Node& node, const Setters& setters, const std::string& where) {
  if (!node.IsMap()) throw SandboxError(where + ": want a map of keys");
  for (const auto& item : node) {
    const std::string key = item.first.as<std::string>();
    auto setter = setters.find(key);
    if (setter == setters.end()) {
      std::string known;
      for (const auto& s : setters) known += (known.empty() ? "" : ", ") + s.first;
      throw SandboxError(where + ": unknown key " + key + " (known: " + known + ")");
    }
    try {
      setter->second(item.second);
    } catch (const YAML::Exception&) {
      throw SandboxError(where + ": " + key + ": the value has the wrong type");
    }
  }
}

template <class T>
auto number(T& to, double low, double high) {
  return [&to, low, high](const YAML::Node& n) {
    const double value = n.as<double>();
    if (!(value >= low && value <= high)) {
      std::ostringstream text;
      text << "got " << value << ", want " << low << ".." << high;
      throw SandboxError(text.str());
    }
    to = static_cast<T>(value);
  };
}

template <class T>
auto value(T& to) {
  return [&to](const YAML::Node& n) { to = n.as<T>(); };
}

auto limits(Limits& l, const std::string& where) {
  return [&l, where](const YAML::Node& n) {
    read_map(n,
             {{"cpu_s", number(l.cpu_s, 0.05, 86400)},
              {"wall_factor", number(l.wall_factor, 1, 1000)},
              {"memory_mb", number(l.memory_mb, 16, 1 << 22)},
              {"output_mb", number(l.output_mb, 1, 1024)},
              {"files_mb", number(l.files_mb, 1, 1 << 20)},
              {"processes", number(l.processes, 1, 100000)},
              {"open_files", number(l.open_files, 16, 100000)},
              {"stack_mb", number(l.stack_mb, 1, 1 << 20)}},
             where);
  };
}

}  // namespace

Profile parse_profile(const std::string& yaml, const std::string& where) {
  Profile p;
  try {
    read_map(YAML::Load(yaml),
             {{"language", value(p.language)},
              {"source", value(p.source)},
              {"compile", value(p.compile)},
              {"run", value(p.run)},
              {"artifact", value(p.artifact)},
              {"warm", value(p.warm)},
              {"preload", value(p.preload)},
              {"read_only", value(p.read_only)},
              {"environment", value(p.environment)},
              {"limits", limits(p.limits, "limits")},
              {"compile_limits", limits(p.compile_limits, "compile_limits")},
              {"isolation",
               [&](const YAML::Node& n) {
                 const std::string word = n.as<std::string>();
                 if (word != "namespaces" && word != "none") {
                   throw SandboxError("isolation: got " + word + ", want namespaces or none");
                 }
                 p.isolated = word == "namespaces";
               }}},
             "profile");
  } catch (const YAML::Exception& e) {
    throw SandboxError(where + ": not YAML: " + e.msg);
  } catch (const SandboxError& e) {
    throw SandboxError(where + ": " + e.what());
  }
  if (p.language.empty() || p.source.empty() || p.run.empty()) {
    throw SandboxError(where + ": language, source and run must be given");
  }
  if (p.compile.empty() != p.artifact.empty()) throw SandboxError(where + ": compile and artifact belong together");
  if (p.source.find('/') != std::string::npos || p.artifact.find('/') != std::string::npos) {
    throw SandboxError(where + ": source and artifact are file names, without a directory");
  }
  for (const std::string& d : p.read_only) {
    if (d.empty() || d[0] != '/' || d == "/") throw SandboxError(where + ": read_only: got " + d + ", want /DIRECTORY");
  }
  return p;
}

std::map<std::string, Profile> load_profiles(const std::vector<std::string>& files) {
  std::map<std::string, Profile> profiles;
  for (const char* yaml : builtin_profiles()) {
    Profile p = parse_profile(yaml, "built-in profile");
    profiles[p.language] = p;
  }
  for (const std::string& file : files) {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    if (!in) throw SandboxError("cannot read profile " + file);
    Profile p = parse_profile(text.str(), file);
    profiles[p.language] = p;
  }
  return profiles;
}

const Profile& find_profile(const std::map<std::string, Profile>& profiles, const std::string& language) {
  auto it = profiles.find(language);
  if (it != profiles.end()) return it->second;
  std::string known;
  for (const auto& p : profiles) known += (known.empty() ? "" : ", ") + p.first;
  throw SandboxError("language: got " + language + ", want one of " + known);
}

}  // namespace fulmen::sandboxes
