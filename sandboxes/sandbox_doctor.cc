#include "sandboxes/sandbox_doctor.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>

namespace fulmen::sandboxes {
namespace {

void line(const char* mark, const char* name, const std::string& text) {
  std::printf("  %-5s%-16s%s\n", mark, name, text.c_str());
}

std::string first_word_of(const char* path) {
  std::ifstream in(path);
  std::string word;
  in >> word;
  return word;
}

std::string advice() {
  if (first_word_of("/proc/sys/user/max_user_namespaces") == "0") {
    return "user namespaces are switched off: sysctl -w user.max_user_namespaces=65536 (as root)";
  }
  if (first_word_of("/proc/sys/kernel/unprivileged_userns_clone") == "0" && geteuid() != 0) {
    return "ordinary users may not make namespaces: sysctl -w kernel.unprivileged_userns_clone=1 (as root)";
  }
  if (first_word_of("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1") {
    return "AppArmor restricts them: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 (as root), or a profile "
           "for fulmen-sandbox with `userns,`";
  }
  return "in a container: start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined and "
         "--cap-add SYS_ADMIN, or --privileged";
}

void say_cgroups(const CgroupPlaces& places) {
  const bool memory = places.v2_memory || places.v1.count("memory") > 0;
  const bool pids = places.v2_pids || places.v1.count("pids") > 0;
  const bool cpu = !places.v2.empty() || places.v1.count("cpuacct") > 0;
  auto where = [&](const char* controller, bool v2) {
    auto it = places.v1.find(controller);
    return v2 ? "cgroup v2, " + places.v2 : "cgroup v1, " + (it == places.v1.end() ? std::string() : it->second);
  };
  line(memory ? "ok" : "note", "memory limit",
       memory ? where("memory", places.v2_memory) : "RLIMIT_AS of each process, and all of a run polled every 10 ms");
  line(pids ? "ok" : "note", "process limit",
       pids ? where("pids", places.v2_pids) : "RLIMIT_NPROC in a user namespace of its own (counts exactly too)");
  line(cpu ? "ok" : "note", "CPU time",
       cpu ? where("cpuacct", places.v1.count("cpuacct") == 0) : "summed over /proc every 10 ms, to 10 ms");
  line(places.v2.empty() ? "note" : "ok", "cgroup kill",
       places.v2.empty() ? "by the end of pid 1 of the run's pid namespace, which is as sure" : places.v2);
  for (const auto& [feature, why] : places.missing) line("", "", feature + ": " + why);
  if (!memory) {
    line("", "",
         "for exact memory limits: systemd-run --user --scope -p Delegate=yes COMMAND, or name an empty delegated");
    line("", "", "version 2 group in FULMEN_SANDBOX_CGROUP");
  }
}

}  // namespace

std::string isolation_problem(const Profile& profile) {
  bool network = false, proc = false;
  return try_isolation(profile, network, proc);
}

int run_doctor(const std::map<std::string, Profile>& profiles, const SlotOptions& options) {
  std::printf("sandbox, as %s (uid %d)\n", geteuid() == 0 ? "root" : "an ordinary user", static_cast<int>(geteuid()));
  bool network = false, proc = false;
  const std::string problem = try_isolation(profiles.begin()->second, network, proc);
  if (!problem.empty()) {
    line("STOP", "namespaces", problem);
    line("", "", advice());
    line("", "", "until then untrusted programs are refused. A profile that says `isolation: none` runs them without");
    line("", "", "isolation, by rlimits and the system call filter alone: only in a machine that may be lost.");
  } else {
    line("ok", "namespaces", "user, pid, mount, ipc, uts; root on a tmpfs, system read-only");
    line(network ? "ok" : "note", "network",
         network ? "an empty network namespace, and no sockets" : "no network namespace; the filter forbids sockets");
    line(proc ? "ok" : "note", "/proc",
         proc ? "private to a run" : "refused (a container hides parts of its own): programs run without one");
    if (outer_uid() != geteuid())
      line("ok", "user", "programs are nobody (65534) outside, 1000 inside, without capabilities");
  }
  say_cgroups(find_cgroups(options.cgroup));
  bool usable = false;
  for (const auto& [name, p] : profiles) {
    const std::string& needs = !p.warm.empty() ? p.warm : !p.compile.empty() ? p.compile[0] : p.run[0];
    const bool there = access(needs.c_str(), X_OK) == 0;
    Slot slot(p, options);
    RunRequest request;
    std::string why = there ? "" : needs + " is not there";
    if (there && (problem.empty() || !p.isolated)) {
      if (p.warm.empty()) {
        request.argv = {"/bin/true"};
      } else {
        request.payload = R"json({"mode":"script","sources":["print(1)"]})json";
      }
      const RunResult r = slot.run(request, p.limits);
      if (r.outcome != Outcome::kOk) why = r.reason + " " + r.err.substr(0, 200);
    }
    if (why.empty() && !problem.empty() && p.isolated) why = needs + " is there, but refused without namespaces";
    usable |= why.empty();
    line(why.empty() ? "ok" : "note", name.c_str(), why.empty() ? needs + (p.isolated ? "" : ", NOT ISOLATED") : why);
  }
  return usable ? 0 : 1;
}

}  // namespace fulmen::sandboxes
