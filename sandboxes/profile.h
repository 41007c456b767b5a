#pragma once
// What may run and how: one YAML file a language. Those of this folder are compiled in; a file of your own replaces the
// one of the same language or adds another. Every key is checked; an unknown one is an error.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fulmen::sandboxes {

struct Limits {
  double cpu_s = 10;       // of all processes of a run together: decides
  double wall_factor = 5;  // a run is stopped at cpu_s * wall_factor + 5 s, or after cpu_s (10 s at least) in which it
                           // did not want the processor
  uint64_t memory_mb = 1024;
  uint64_t output_mb = 16;  // stdout and stderr together, and a file
  uint64_t files_mb = 64;   // all of /tmp
  uint32_t processes = 64;  // threads count
  uint32_t open_files = 64;
  uint64_t stack_mb = 64;
};

struct Profile {
  std::string language;
  std::string source;                     // name of the program's file in /tmp
  std::vector<std::string> compile, run;  // argv; compile empty: nothing to compile
  std::string artifact;                   // file that compile leaves and run needs
  std::string warm;                       // interpreter kept warm, or ""
  std::vector<std::string> preload;       // modules it imports before the first run
  std::vector<std::string> read_only;     // directories of the host that are visible inside
  std::map<std::string, std::string> environment;
  Limits limits, compile_limits;
  bool isolated = true;  // `isolation: namespaces`; `isolation: none` has no namespaces and must be written out
};

// Throws SandboxError naming file and key.
Profile parse_profile(const std::string& yaml, const std::string& where);

// Those compiled in, then FILE for each of `files`.
std::map<std::string, Profile> load_profiles(const std::vector<std::string>& files);

// A nearest-name message for an unknown language.
const Profile& find_profile(const std::map<std::string, Profile>& profiles, const std::string& language);

}  // namespace fulmen::sandboxes
