// The findings of `fulmen doctor`, one function each.

#include <fmt/format.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "kernels/context.h"
#include "kernels/device.h"
#include "kernels/error.h"
#include "kernels/table.h"
#include "shared/base/file.h"
#include "shared/launch/doctor.h"
#include "shared/launch/tool.h"

namespace fulmen::launch {
namespace {

namespace fs = std::filesystem;

constexpr double kGib = 1024.0 * 1024 * 1024;

// The value after "NAME:" in a file of such lines; empty when absent.
std::string line_value(const std::string& path, const std::string& name) {
  std::istringstream text(base::read_file(path));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with(name)) continue;
    const size_t colon = line.find(':');
    const size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

int usable_cores() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                     : static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
}

Finding processor() {
  const std::string model = line_value("/proc/cpuinfo", "model name");
  return {Health::kGood, "processor",
          fmt::format("{}, {} cores for this process", model.empty() ? "unknown model" : model, usable_cores())};
}

Finding instruction_set() {
  try {
    kernels::ThreadPool pool(1);
    const std::string name = kernels::cpu_context(pool).table->name;
    return {Health::kGood, "kernels", name + " (AVX2 and AVX-512 give the same bits)"};
  } catch (const Error& e) {
    return {Health::kProblem, "kernels", e.what()};
  }
}

Finding memory() {
  const double total = std::atof(line_value("/proc/meminfo", "MemTotal").c_str()) * 1024 / kGib;
  const double free = std::atof(line_value("/proc/meminfo", "MemAvailable").c_str()) * 1024 / kGib;
  std::string text = fmt::format("{:.1f} GiB, {:.1f} GiB available", total, free);
  double usable = free;
  const char* limit_file = "/sys/fs/cgroup/memory.max";
  if (fs::exists(limit_file)) {
    const std::string limit = base::read_file(limit_file);
    if (!limit.starts_with("max")) {
      usable = std::min(usable, std::atof(limit.c_str()) / kGib);
      text += fmt::format(", this container may use {:.1f} GiB", std::atof(limit.c_str()) / kGib);
    }
  }
  return {usable < 2 ? Health::kNote : Health::kGood, "memory",
          text + (usable < 2 ? ": little; lower rollout.memory_mb" : "")};
}

Finding free_space(const std::string& name, const std::string& path, double want_gib, const std::string& use) {
  fs::path existing = fs::weakly_canonical(path);
  while (!existing.empty() && !fs::exists(existing)) existing = existing.parent_path();
  struct statvfs info {};
  if (::statvfs(existing.c_str(), &info) != 0) {
    return {Health::kProblem, name, existing.string() + ": " + std::system_category().message(errno)};
  }
  const double free = static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize) / kGib;
  const bool writable = ::access(existing.c_str(), W_OK) == 0;
  const std::string text = fmt::format("{:.1f} GiB free in {}", free, existing.string());
  if (!writable) return {Health::kProblem, name, text + ", but it is not writable"};
  if (free < want_gib / 16)
    return {Health::kProblem, name, fmt::format("{}: {} needs {:.1f} GiB", text, use, want_gib)};
  if (free < want_gib) return {Health::kNote, name, fmt::format("{}: {} wants {:.1f} GiB", text, use, want_gib)};
  return {Health::kGood, name, text};
}

Finding gpu() {
  const kernels::GpuFacts facts = kernels::examine_gpu();
  if (facts.usable) return {Health::kGood, "GPU", facts.text};
  return {Health::kNote, "GPU", facts.text + ": runs use the CPU backend (run.device cuda would be an error)"};
}

Finding python() {
  std::istringstream path(std::getenv("PATH") == nullptr ? "" : std::getenv("PATH"));
  for (std::string directory; std::getline(path, directory, ':');) {
    const std::string found = directory + "/python3";
    if (is_executable(found)) return {Health::kGood, "python3", found + " (rewards written in Python)"};
  }
  return {Health::kNote, "python3", "not in PATH: reward functions written in Python cannot run"};
}

std::string limit_text(rlim_t value) { return value == RLIM_INFINITY ? "unlimited" : std::to_string(value); }

Finding limits() {
  rlimit files{}, processes{}, size{};
  getrlimit(RLIMIT_NOFILE, &files);
  getrlimit(RLIMIT_NPROC, &processes);
  getrlimit(RLIMIT_FSIZE, &size);
  const std::string text =
      fmt::format("open files {} (at most {}), processes {}, file size {}", limit_text(files.rlim_cur),
                  limit_text(files.rlim_max), limit_text(processes.rlim_cur), limit_text(size.rlim_cur));
  const bool low = files.rlim_cur < 1024 || size.rlim_cur != RLIM_INFINITY;
  return {low ? Health::kNote : Health::kGood, "limits", text + (low ? ": ulimit -n 1024 -f unlimited is safer" : "")};
}

Finding versions() {
  utsname system{};
  ::uname(&system);
  return {Health::kGood, "versions",
          fmt::format("fulmen " FULMEN_VERSION ", compiled by g++ " __VERSION__ ", glibc {}, Linux {}",
                      gnu_get_libc_version(), system.release)};
}

}  // namespace

std::vector<Finding> examine_host(const std::string& directory) {
  return {versions(),
          processor(),
          instruction_set(),
          gpu(),
          memory(),
          free_space("disk", directory, 2, "a run with checkpoints"),
          free_space("shared memory", "/dev/shm", 0.25, "weight sync on one host"),
          python(),
          limits()};
}

}  // namespace fulmen::launch
