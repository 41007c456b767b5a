#include "sandboxes/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "sandboxes/error.h"

namespace fulmen::sandboxes {
namespace {

constexpr char kPrefix[] = "fulmen-";

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool write_text(const std::string& path, const std::string& text) {
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return good;
}

uint64_t number_after(const std::string& text, const std::string& word) {
  std::istringstream lines(text);
  std::string key;
  for (uint64_t n; lines >> key >> n;) {
    if (key == word) return n;
  }
  return 0;
}

bool has_word(const std::string& list, const std::string& word, char separator) {
  std::istringstream words(list);
  for (std::string w; std::getline(words, w, separator);) {
    if (w == word) return true;
  }
  return false;
}

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// A leaf can be made here and a process can be moved into it.
bool accepts_leaves(const std::string& directory) {
  const std::string probe = directory + "/" + kPrefix + std::to_string(getpid()) + "-probe";
  if (mkdir(probe.c_str(), 0755) != 0 && errno != EEXIST) return false;
  const bool good = access((probe + "/cgroup.procs").c_str(), W_OK) == 0;
  rmdir(probe.c_str());
  return good;
}

struct Hierarchy {
  std::string mount;
  std::string own;  // our directory below it, "/a/b"
};

// controller ("" for version 2) -> hierarchy
std::map<std::string, Hierarchy> hierarchies(const std::string& mounts, const std::string& self) {
  std::map<std::string, Hierarchy> found;
  std::istringstream lines(mounts);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string device, mount, type, options;
    words >> device >> mount >> type >> options;
    if (type == "cgroup2") found.emplace("", Hierarchy{mount, "/"});
    if (type != "cgroup") continue;
    for (const char* controller : {"memory", "pids", "cpuacct"}) {
      if (has_word(options, controller, ',')) found.emplace(controller, Hierarchy{mount, "/"});
    }
  }
  std::istringstream memberships(self);
  for (std::string line; std::getline(memberships, line);) {  // "8:pids:/a/b"
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    for (auto& [name, h] : found) {
      if (name.empty() ? controllers.empty() : has_word(controllers, name, ',')) h.own = line.substr(second + 1);
    }
  }
  return found;
}

// Our own directory, or the top of the hierarchy where ours is not visible (a container).
std::string usable_directory(const Hierarchy& h) {
  const std::string own = h.mount + (h.own == "/" ? "" : h.own);
  return exists(own + "/cgroup.procs") ? own : h.mount;
}

void find_v2(CgroupPlaces& places, const std::map<std::string, Hierarchy>& all) {
  const char* given = std::getenv("FULMEN_SANDBOX_CGROUP");
  auto v2 = all.find("");
  if (!given && v2 == all.end()) {
    places.missing["cgroup v2"] = "not mounted";
    return;
  }
  const std::string directory = given ? given : usable_directory(v2->second);
  if (!accepts_leaves(directory)) {
    places.missing["cgroup v2"] = "no right to make groups in " + directory;
    return;
  }
  places.v2 = directory;
  std::string enabled = read_text(directory + "/cgroup.subtree_control");
  const std::string offered = read_text(directory + "/cgroup.controllers");
  for (const char* controller : {"memory", "pids"}) {
    if (offered.find(controller) != std::string::npos && enabled.find(controller) == std::string::npos) {
      write_text(directory + "/cgroup.subtree_control", std::string("+") + controller);
    }
  }
  enabled = read_text(directory + "/cgroup.subtree_control");
  places.v2_memory = enabled.find("memory") != std::string::npos;
  places.v2_pids = enabled.find("pids") != std::string::npos;
  if (!places.v2_memory || !places.v2_pids) {
    places.missing["cgroup v2 limits"] = directory + " offers no memory and pids controllers to groups below it";
  }
}

void find_v1(CgroupPlaces& places, const std::map<std::string, Hierarchy>& all) {
  for (const char* controller : {"memory", "pids", "cpuacct"}) {
    auto h = all.find(controller);
    if (h == all.end()) {
      places.missing[std::string("cgroup v1 ") + controller] = "not mounted";
      continue;
    }
    const std::string directory = usable_directory(h->second);
    if (accepts_leaves(directory)) {
      places.v1[controller] = directory;
    } else {
      places.missing[std::string("cgroup v1 ") + controller] = "no right to make groups in " + directory;
    }
  }
}

void remove_leaf(const std::string& path) {
  // A process that has just died may still be counted for an instant.
  for (int i = 0; i < 100 && rmdir(path.c_str()) != 0 && errno == EBUSY; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// Leaves are named fulmen-PID-..., so those of a supervisor that was killed are known.
void remove_stale(const std::string& directory) {
  std::error_code code;
  for (const auto& entry : std::filesystem::directory_iterator(directory, code)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    const long pid = std::strtol(name.c_str() + sizeof kPrefix - 1, nullptr, 10);
    if (pid > 0 && kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
  }
}

}  // namespace

CgroupMode parse_cgroup_mode(const std::string& word) {
  if (word == "auto") return CgroupMode::kAuto;
  if (word == "v2") return CgroupMode::kV2;
  if (word == "v1") return CgroupMode::kV1;
  if (word == "none") return CgroupMode::kNone;
  throw SandboxError("cgroup: got " + word + ", want auto, v2, v1 or none");
}

CgroupPlaces find_cgroups(CgroupMode mode, const std::string& mounts, const std::string& self) {
  CgroupPlaces places;
  if (mode == CgroupMode::kNone) return places;
  const auto all = hierarchies(mounts, self);
  if (mode != CgroupMode::kV1) find_v2(places, all);
  if (mode != CgroupMode::kV2 && !(places.v2_memory && places.v2_pids)) find_v1(places, all);
  return places;
}

CgroupPlaces find_cgroups(CgroupMode mode) {
  return find_cgroups(mode, read_text("/proc/self/mounts"), read_text("/proc/self/cgroup"));
}

Cgroup::Cgroup(const CgroupPlaces& places, const std::string& name) {
  auto make = [&](const std::string& key, const std::string& parent) {
    remove_stale(parent);
    const std::string path = parent + "/" + kPrefix + std::to_string(getpid()) + "-" + name;
    if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) throw_errno("cannot make the control group " + path);
    leaves_[key] = path;
    return path;
  };
  if (!places.v2.empty()) {
    const std::string leaf = make("v2", places.v2);
    if (exists(leaf + "/cgroup.kill")) kill_file_ = leaf + "/cgroup.kill";
    if (exists(leaf + "/cpu.stat")) cpu_file_ = leaf + "/cpu.stat";
    cpu_is_v2_ = true;
    if (places.v2_memory) {
      memory_file_ = leaf + "/memory.max";
      oom_file_ = leaf + "/memory.events";
      if (exists(leaf + "/memory.peak")) memory_peak_file_ = leaf + "/memory.peak";
      write_text(leaf + "/memory.swap.max", "0");
    }
    if (places.v2_pids) pids_file_ = leaf + "/pids.max";
  }
  for (const auto& [controller, parent] : places.v1) {
    const std::string leaf = make(controller, parent);
    if (controller == "memory") {
      memory_file_ = leaf + "/memory.limit_in_bytes";
      oom_file_ = leaf + "/memory.oom_control";
      memory_peak_file_ = leaf + "/memory.max_usage_in_bytes";
      const std::string swap = leaf + "/memory.memsw.limit_in_bytes";
      if (exists(swap)) memory_swap_file_ = swap;
    } else if (controller == "pids") {
      pids_file_ = leaf + "/pids.max";
    } else {
      cpu_file_ = leaf + "/cpuacct.usage";
      cpu_is_v2_ = false;
    }
  }
}

Cgroup::~Cgroup() {
  for (const auto& leaf : leaves_) remove_leaf(leaf.second);
}

bool Cgroup::attach(int pid) {
  bool good = true;
  for (const auto& leaf : leaves_) good &= write_text(leaf.second + "/cgroup.procs", std::to_string(pid));
  return good;
}

void Cgroup::set_limits(uint64_t memory_bytes, uint32_t processes) {
  if (!memory_file_.empty() && memory_bytes != memory_now_) {
    const std::string bytes = std::to_string(memory_bytes);
    // Memory must not pass memory+swap, so the order depends on the direction.
    const bool up = memory_bytes > memory_now_;
    if (!memory_swap_file_.empty() && up) write_text(memory_swap_file_, bytes);
    if (!write_text(memory_file_, bytes)) throw_errno("cannot set " + memory_file_ + " to " + bytes);
    if (!memory_swap_file_.empty() && !up) write_text(memory_swap_file_, bytes);
    memory_now_ = memory_bytes;
  }
  if (!memory_peak_file_.empty()) write_text(memory_peak_file_, "0");  // start counting anew
  if (!pids_file_.empty() && processes != pids_now_) {
    if (!write_text(pids_file_, std::to_string(processes))) throw_errno("cannot set " + pids_file_);
    pids_now_ = processes;
  }
}

uint64_t Cgroup::cpu_us() const {
  if (cpu_file_.empty()) return 0;
  const std::string text = read_text(cpu_file_);
  return cpu_is_v2_ ? number_after(text, "usage_usec") : std::strtoull(text.c_str(), nullptr, 10) / 1000;
}

uint64_t Cgroup::out_of_memory_kills() const {
  return oom_file_.empty() ? 0 : number_after(read_text(oom_file_), "oom_kill");
}

uint64_t Cgroup::memory_peak_bytes() const {
  return memory_peak_file_.empty() ? 0 : std::strtoull(read_text(memory_peak_file_).c_str(), nullptr, 10);
}

void Cgroup::kill_all() {
  if (!kill_file_.empty()) write_text(kill_file_, "1");
}

}  // namespace fulmen::sandboxes
