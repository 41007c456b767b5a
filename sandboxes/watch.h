#pragma once
// The time between the start of a run and the moment nothing of it is left: collects what its programs write, holds
// them to their limits, and finds out how they ended.

#include <chrono>
#include <string>
#include <vector>

#include "sandboxes/cgroup.h"
#include "sandboxes/jail.h"
#include "sandboxes/jailer.h"
#include "sandboxes/slot.h"

namespace fulmen::sandboxes {

class Watch {
 public:
  struct Pipes {
    FileDescriptor out, err, result, status, fetch;
  };

  Watch(const Jailer& jailer, Cgroup& cgroup, const Limits& limits);
  void add(uint32_t run, uint64_t nonce, Pipes pipes);  // the last of them first
  std::vector<RunResult> finish();                      // waits for all; throws SandboxError when the jailer is gone
  bool slot_is_good() const { return slot_is_good_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct Run {
    uint32_t number;
    uint64_t nonce;
    Pipes pipes;
    std::string out, err, result, fetched, status;
    uint64_t err_bytes = 0;
    bool ended = false, stopped = false;
    Outcome why = Outcome::kOk;  // decided by us while it ran
    std::string reason;
    Clock::time_point stop_time, end_time;
    JailEnded end{};
  };

  int next_look_ms() const;
  void look();  // at CPU time, idleness, memory
  void read_from(FileDescriptor& fd, std::string& to, uint64_t keep, uint64_t limit, uint64_t* seen);
  void read_pipes(Run& run);
  void read_control();
  void stop_all(Outcome why, const std::string& reason);
  void stop(Run& run, Outcome why, const std::string& reason);
  bool all_ended() const;
  RunResult conclude(Run& run) const;

  const Jailer& jailer_;
  Cgroup& cgroup_;
  Limits limits_;
  std::vector<Run> runs_;
  Clock::time_point start_, last_look_;
  uint64_t cpu_start_us_, oom_start_, cpu_last_us_ = 0, cpu_used_us_ = 0;
  double idle_s_ = 0, idle_limit_s_;
  bool slot_is_good_ = true;
};

}  // namespace fulmen::sandboxes
