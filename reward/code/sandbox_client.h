#pragma once
// A `fulmen-sandbox serve` process and its requests (sandboxes/serve.h). It is started when first needed, and again
// after it died; a reply it could not give in time costs it its life. Used by one thread.

#include <chrono>
#include <string>
#include <vector>

#include "reward/child_process.h"

namespace fulmen::reward {

struct SandboxFile {
  std::string path, content;
  bool executable = false;
};

struct SandboxProgram {
  bool warm = false;      // payload for a warm interpreter, else the profile's (or the request's) command
  std::string payload{};  // JSON, sandboxes/python/warm.py
  std::string input{};    // stdin
  std::vector<SandboxFile> files{};
};

struct SandboxLimits {  // 0: the profile's
  double cpu_s = 0, memory_mb = 0, output_mb = 0, files_mb = 0, processes = 0;
};

struct SandboxRequest {
  std::string language;
  bool compile = false;
  std::vector<SandboxProgram> programs;  // one, or two that are joined
  SandboxLimits limits;
  std::vector<std::string> command;  // instead of the profile's
  std::string fetch;                 // file or directory to bring back
};

enum class Outcome { kOk, kRuntimeError, kTimeLimit, kMemoryLimit, kOutputLimit, kSandboxError };
const char* outcome_name(Outcome o);  // "OK", "RE", ...

struct SandboxReport {
  Outcome outcome = Outcome::kSandboxError;
  std::string reason{};  // one line, empty for kOk
  double cpu_ms = 0, wall_ms = 0, kill_ms = 0;
  uint64_t memory_kb = 0;
  std::string out{}, err{}, result{};
  std::vector<SandboxFile> fetched{};
};

struct SandboxOptions {
  std::string executable;             // "": fulmen-sandbox beside this program
  std::vector<std::string> profiles;  // YAML files
  std::string cgroup = "auto";
};

struct SandboxLanguage {
  std::string name, source;
  bool compiled = false, warm = false;
};

class SandboxClient {
 public:
  explicit SandboxClient(SandboxOptions options);
  // Lets the sandbox take its control groups away.
  ~SandboxClient() { process_.finish(2000); }

  // One report a program. A sandbox error is tried again twice with a fresh process before it is reported.
  std::vector<SandboxReport> run(const SandboxRequest& request);

  // Throws Error naming the known languages.
  const SandboxLanguage& language(const std::string& name);

 private:
  std::vector<SandboxReport> run_once(const SandboxRequest& request);
  void start();

  SandboxOptions options_;
  ChildProcess process_;
  std::vector<SandboxLanguage> languages_;
};

}  // namespace fulmen::reward
