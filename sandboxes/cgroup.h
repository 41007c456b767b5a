#pragma once
// Control groups of one slot: exact CPU time, memory and process limits, and a kill, as far as this machine offers
// them. Version 2 is used where memory and pids are delegated to us; else version 1 controllers, each where it is
// writable; else version 2 for CPU time and kill alone. What is missing is done without: RLIMIT_AS and polling for
// memory, RLIMIT_NPROC for processes, /proc for CPU time.
//
// FULMEN_SANDBOX_CGROUP names a delegated, empty version 2 directory to use instead of our own one.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace fulmen::sandboxes {

enum class CgroupMode { kAuto, kV2, kV1, kNone };
CgroupMode parse_cgroup_mode(const std::string& word);  // auto, v2, v1, none

// Where leaves can be made. Paths of the parent directory per controller; absent: not usable.
struct CgroupPlaces {
  std::string v2;                              // unified directory, or ""
  std::map<std::string, std::string> v1;       // controller (memory, pids, cpuacct) -> directory
  bool v2_memory = false, v2_pids = false;     // controllers enabled for leaves of v2
  std::map<std::string, std::string> missing;  // feature -> why
};

// mounts, self: text of /proc/self/mounts and /proc/self/cgroup; given for tests.
CgroupPlaces find_cgroups(CgroupMode mode);
CgroupPlaces find_cgroups(CgroupMode mode, const std::string& mounts, const std::string& self);

class Cgroup {
 public:
  // Makes the leaves. name: unique on this machine. Also removes leaves of supervisors that are gone.
  Cgroup(const CgroupPlaces& places, const std::string& name);
  ~Cgroup();  // removes the leaves; they must be empty
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  bool counts_cpu() const { return !cpu_file_.empty(); }
  bool limits_memory() const { return !memory_file_.empty(); }
  bool limits_processes() const { return !pids_file_.empty(); }

  bool attach(int pid);  // false: it did not go
  void set_limits(uint64_t memory_bytes, uint32_t processes);
  uint64_t cpu_us() const;  // of all there has been in the slot
  uint64_t out_of_memory_kills() const;
  uint64_t memory_peak_bytes() const;  // since set_limits; 0: not known
  void kill_all();                     // where version 2 offers it

 private:
  std::map<std::string, std::string> leaves_;  // controller or "v2" -> directory
  std::string cpu_file_, memory_file_, memory_swap_file_, memory_peak_file_, oom_file_, pids_file_, kill_file_;
  bool cpu_is_v2_ = false;
  uint64_t memory_now_ = 0;
  uint32_t pids_now_ = 0;
};

}  // namespace fulmen::sandboxes
