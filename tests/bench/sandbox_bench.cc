// What a jail costs over a bare exec, and how many small Python tests a second the warm interpreters run.
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "sandboxes/slot.h"
#include "tests/bench/bench.h"

extern char** environ;

namespace fulmen::bench {
namespace {

using namespace sandboxes;

std::string library() {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "libfulmen_jail.so").string();
}

double cpu_ms() {  // of this process and of all it has waited for
  double total = 0;
  for (int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage u{};
    getrusage(who, &u);
    total += static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
             static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
  }
  return total;
}

struct Cost {
  double cpu_ms, wall_ms;
  double others;
};

template <class Run>
Cost cost_of(int count, Run run) {
  const Quiet quiet;
  const double cpu = cpu_ms(), wall = now_seconds();
  run(count);
  return {(cpu_ms() - cpu) / count, (now_seconds() - wall) * 1e3 / count, quiet.others()};
}

void bare(int count) {
  char path[] = "/bin/true";
  char* argv[] = {path, nullptr};
  for (int i = 0; i < count; i++) {
    pid_t pid = 0;
    if (posix_spawn(&pid, path, nullptr, nullptr, argv, environ) == 0) waitpid(pid, nullptr, 0);
  }
}

// The slot's own start and end are in the figure: its processes are waited for, so their CPU time counts.
void jailed(int count, const Profile& profile, const RunRequest& request) {
  Slot slot(profile, {library(), CgroupMode::kAuto});
  for (int i = 0; i < count; i++) {
    const RunResult r = slot.run(request, profile.limits);
    if (r.outcome != Outcome::kOk) {
      std::printf("  a run failed: %s %s\n", outcome_name(r.outcome), r.reason.c_str());
      return;
    }
  }
}

void print(const char* name, const Cost& c, const std::string& more) {
  std::printf("  %-34s %7.2f ms CPU %7.2f ms  %s%s\n", name, c.cpu_ms, c.wall_ms, more.c_str(),
              c.others > Quiet::kLimit ? "  (noisy)" : "");
}

// Tests a second by `workers` processes with a slot each.
void print_rate(int workers, const Profile& python, const RunRequest& request, double seconds) {
  int ends[2];
  if (pipe(ends) != 0) return;
  const Quiet quiet;
  for (int w = 0; w < workers; w++) {
    if (fork() != 0) continue;
    long count = 0;
    {
      Slot slot(python, {library(), CgroupMode::kAuto});
      slot.run(request, python.limits);
      const double end = now_seconds() + seconds;
      while (now_seconds() < end && slot.run(request, python.limits).outcome == Outcome::kOk) count++;
    }
    const bool told = write(ends[1], &count, sizeof count) == sizeof count;
    _exit(told ? 0 : 1);
  }
  long total = 0;
  for (int w = 0; w < workers; w++) {
    long count = 0;
    if (read(ends[0], &count, sizeof count) == sizeof count) total += count;
    wait(nullptr);
  }
  close(ends[0]);
  close(ends[1]);
  std::printf("  %-34s %7.0f tests/s%s\n", fmt::format("small Python tests, {} slots", workers).c_str(),
              static_cast<double>(total) / seconds, quiet.others() > Quiet::kLimit ? "  (noisy)" : "");
}

void run(const Options& options) {
  const auto profiles = load_profiles({});
  const Profile& shell = profiles.at("shell");
  const Profile& python = profiles.at("python");
  const int count = std::max(50, static_cast<int>(options.seconds_per_case * 400));
  const RunRequest truth{{"/bin/true"}, "", "", {}, ""};
  const RunRequest script{
      {}, R"json({"mode":"script","sources":["print(sum(map(int, input().split())))"]})json", "1 2 3\n", {}, ""};
  const Cost bare_cost = cost_of(count, bare);
  const Cost jail_cost = cost_of(count, [&](int n) { jailed(n, shell, truth); });
  print("/bin/true, bare", bare_cost, "");
  print("/bin/true, jailed", jail_cost, fmt::format("+{:.2f} ms CPU", jail_cost.cpu_ms - bare_cost.cpu_ms));
  const Cost warm = cost_of(count, [&](int n) { jailed(n, python, script); });
  print("small Python test, warm", warm, fmt::format("= {:.0f} a second on 2 free cores", 2000 / warm.cpu_ms));
  for (int workers : options.threads) print_rate(workers, python, script, 2 * options.seconds_per_case);
}

const bool kRegistered = register_table("reward", "programs in fulmen-sandbox", run);

}  // namespace
}  // namespace fulmen::bench
