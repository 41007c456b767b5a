#pragma once
// One slot runs one program (or one pair) at a time: it starts the jailer when it is first needed, watches a run's
// limits from outside, kills, and says how it ended. The process must have no other threads: a jailer is cloned from
// it.
//
// CPU time of all processes of the run decides. Wall time only stops: after wall_factor * cpu_s + 5 s, or when for
// cpu_s (between 2 and 10 s) nothing in the run wanted the processor, which other load on the machine cannot cause.

#include <memory>
#include <string>
#include <vector>

#include "sandboxes/cgroup.h"
#include "sandboxes/jailer.h"
#include "sandboxes/profile.h"

namespace fulmen::sandboxes {

enum class Outcome { kOk, kRuntimeError, kTimeLimit, kMemoryLimit, kOutputLimit, kSandboxError };
const char* outcome_name(Outcome o);  // "OK", "RE", "TLE", "MLE", "OLE", "SE"

struct InputFile {
  std::string path;  // below /tmp
  std::string content;
  bool executable = false;
};

struct RunRequest {
  std::vector<std::string> argv;  // empty: the payload, by the warm interpreter
  std::string payload, input;     // input: stdin
  std::vector<InputFile> files;
  std::string fetch;  // file or directory below /tmp to bring back, or ""
};

struct RunResult {
  Outcome outcome = Outcome::kSandboxError;
  std::string reason;  // one line; empty for OK
  int exit_code = 0, signal = 0;
  double cpu_ms = 0, wall_ms = 0;
  double kill_ms = 0;  // from the decision to stop it until none of its processes was left
  uint64_t memory_kb = 0;
  std::string out, err;  // err: its first 64 KiB
  std::string result;    // bytes written to descriptor 4
  std::vector<InputFile> fetched;
};

struct SlotOptions {
  std::string library;  // libfulmen_jail.so
  CgroupMode cgroup = CgroupMode::kAuto;
};

class Slot {
 public:
  Slot(const Profile& profile, const SlotOptions& options);
  ~Slot();
  Slot(const Slot&) = delete;
  Slot& operator=(const Slot&) = delete;

  // Never throws for what a program does. A broken slot gives kSandboxError and is started anew by the next call.
  RunResult run(const RunRequest& request, const Limits& limits);
  // Two programs joined by a stream socket at descriptor 5, started together. When the second has ended the first is
  // stopped. CPU time is counted together.
  std::pair<RunResult, RunResult> run_pair(const RunRequest& first, const RunRequest& second, const Limits& limits);

  bool isolated() const { return profile_.isolated; }

 private:
  std::vector<RunResult> run_all(const std::vector<const RunRequest*>& requests, const Limits& limits);
  void start();
  void stop();  // everything in the slot is dead afterwards
  std::string jailer_errors();

  Profile profile_;
  SlotOptions options_;
  std::string name_;
  CgroupPlaces places_;
  std::unique_ptr<Cgroup> cgroup_;
  Jailer jailer_;
  uint32_t next_run_ = 1;
};

}  // namespace fulmen::sandboxes
