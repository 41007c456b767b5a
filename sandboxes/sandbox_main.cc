// fulmen-sandbox: runs untrusted programs. `serve` for the reward service, `run` by hand, `doctor`, `profiles`.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "sandboxes/error.h"
#include "sandboxes/sandbox_doctor.h"
#include "sandboxes/serve.h"

namespace {

using namespace fulmen::sandboxes;

std::string read_all(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

int run_once(const std::map<std::string, Profile>& profiles, const SlotOptions& options, const std::string& language,
             const std::string& file, double cpu_s) {
  Profile profile = find_profile(profiles, language);
  profile.warm.clear();
  std::ifstream in(file);
  if (!in) throw SandboxError("cannot read " + file);
  const InputFile source{profile.source, read_all(in), false};
  Limits limits = profile.limits;
  if (cpu_s > 0) limits.cpu_s = cpu_s;
  Slot slot(profile, options);
  RunRequest request{profile.run, "", isatty(0) ? "" : read_all(std::cin), {source}, ""};
  if (!profile.compile.empty()) {
    const RunResult compiled = slot.run({profile.compile, "", "", {source}, profile.artifact}, profile.compile_limits);
    std::fputs(compiled.err.c_str(), stderr);
    if (compiled.outcome != Outcome::kOk) {
      std::fprintf(stderr, "compiling: %s %s\n", outcome_name(compiled.outcome), compiled.reason.c_str());
      return 1;
    }
    request.files = compiled.fetched;
  }
  const RunResult r = slot.run(request, limits);
  std::fwrite(r.out.data(), 1, r.out.size(), stdout);
  std::fwrite(r.err.data(), 1, r.err.size(), stderr);
  std::fprintf(stderr, "[%s%s%s, %.1f ms CPU, %.1f ms, %.1f MiB]\n", outcome_name(r.outcome),
               r.reason.empty() ? "" : ": ", r.reason.c_str(), r.cpu_ms, r.wall_ms,
               static_cast<double>(r.memory_kb) / 1024);
  return r.outcome == Outcome::kOk ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  std::vector<std::string> files;
  std::string cgroup = "auto", language, program;
  double cpu_s = 0;
  CLI::App app("Runs untrusted programs in namespaces of their own, without network, under limits", "fulmen-sandbox");
  app.require_subcommand(1);
  app.add_option("--profile", files, "YAML profile of a language, replaces the built-in one; may be repeated")
      ->allow_extra_args(false);
  app.add_option("--cgroup", cgroup, "auto, v2, v1 or none: which control groups may be used");
  CLI::App* serving = app.add_subcommand("serve", "requests on stdin, replies on stdout (sandboxes/serve.h)");
  CLI::App* running = app.add_subcommand("run", "one program with your stdin; what it used goes to stderr");
  running->add_option("language", language, "python, cpp, c, shell")->required();
  running->add_option("file", program, "the program")->required();
  running->add_option("--cpu-s", cpu_s, "CPU seconds");
  CLI::App* doctor = app.add_subcommand("doctor", "which isolation is usable here and what is missing");
  CLI11_PARSE(app, argc, argv);
  try {
    const auto profiles = load_profiles(files);
    const auto own = std::filesystem::read_symlink("/proc/self/exe").parent_path();
    const SlotOptions options{(own / "libfulmen_jail.so").string(), parse_cgroup_mode(cgroup)};
    if (*serving) {
      serve(0, 1, profiles, options);
      return 0;
    }
    if (*doctor) return run_doctor(profiles, options);
    if (*running) return run_once(profiles, options, language, program, cpu_s);
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "fulmen-sandbox: %s\n", e.what());
    return 2;
  }
}
