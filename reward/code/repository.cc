#include "reward/code/repository.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

namespace fs = std::filesystem;
using Files = std::vector<SandboxFile>;

constexpr uint64_t kMaxTreeBytes = uint64_t{256} << 20;
constexpr char kTree[] = "repo/";

constexpr char kApply[] =
    "p=1; patch -d repo -p1 -f --dry-run -i /tmp/fix.patch >/dev/null 2>&1 || p=0; "
    "exec patch -d repo -p$p -f -s --no-backup-if-mismatch -r - -i /tmp/fix.patch";
constexpr char kRunCommand[] = "read nonce; cd /tmp/repo && \"$@\" </dev/null && echo && echo \"$nonce\"";

Files read_tree(const std::string& directory) {
  FULMEN_CHECK(fs::is_directory(directory), "repository: " + directory + " is not a directory");
  Files files;
  uint64_t bytes = 0;
  for (auto it = fs::recursive_directory_iterator(directory); it != fs::recursive_directory_iterator(); ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory() && (name == ".git" || name == "__pycache__")) it.disable_recursion_pending();
    if (it->is_symlink() || !it->is_regular_file()) continue;
    std::ifstream in(it->path(), std::ios::binary);
    SandboxFile f{kTree + fs::relative(it->path(), directory).string(),
                  {std::istreambuf_iterator<char>(in), {}},
                  (it->status().permissions() & fs::perms::owner_exec) != fs::perms::none};
    FULMEN_CHECK(in.good() || in.eof(), "repository: cannot read " + it->path().string());
    bytes += f.content.size();
    FULMEN_CHECK(bytes <= kMaxTreeBytes, "repository: " + directory + " has more than 256 MiB");
    files.push_back(std::move(f));
  }
  FULMEN_CHECK(!files.empty(), "repository: " + directory + " is empty");
  return files;
}

// The patched tree with everything protected as it was.
Files put_back(const Files& before, Files after, const std::vector<std::string>& protect) {
  const size_t prefix = sizeof kTree - 1;
  auto guarded = [&](const SandboxFile& f) {
    return f.path.size() > prefix && is_protected(f.path.substr(prefix), protect);
  };
  std::erase_if(after, guarded);
  std::copy_if(before.begin(), before.end(), std::back_inserter(after), guarded);
  return after;
}

std::string make_nonce() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}", device(), device(), device());
}

// "" when the test passed.
std::string run_test(const TestRun& run, const Files& files, const std::string& test, SandboxReport& report) {
  const std::string nonce = make_nonce();
  const auto& command = run.tests.repository.command;
  SandboxRequest request;
  request.limits = run.limits;
  request.limits.files_mb = 512;
  SandboxProgram p;
  p.files = files;
  if (command.empty()) {
    request.language = "python";
    p.warm = true;
    p.payload = nlohmann::json{{"mode", "unit"}, {"test", test}, {"nonce", nonce}}.dump(
        -1, ' ', false, nlohmann::json::error_handler_t::replace);
  } else {
    request.language = "shell";
    request.command = {"/bin/sh", "-c", kRunCommand, "sh"};
    for (std::string word : command) {
      const size_t at = word.find("{test}");
      if (at != std::string::npos) word.replace(at, 6, test);
      request.command.push_back(word);
    }
    p.input = nonce + "\n";
  }
  request.programs.push_back(std::move(p));
  report = run.sandbox.run(request)[0];
  if (report.outcome != Outcome::kOk) return describe(report);
  const std::string& said = command.empty() ? report.result : report.out;
  const std::string want = command.empty() ? nonce : "\n" + nonce + "\n";
  const bool good = said.size() >= want.size() && said.compare(said.size() - want.size(), want.size(), want) == 0;
  return good ? "" : "WA " + said.substr(0, 160);
}

bool starts_with_directory(const std::string& path, const std::string& directory) {
  return path == directory || path.rfind(directory + "/", 0) == 0;
}

}  // namespace

bool is_protected(const std::string& path, const std::vector<std::string>& protect) {
  for (const std::string& p : protect) {
    if (starts_with_directory(path, p.back() == '/' ? p.substr(0, p.size() - 1) : p)) return true;
  }
  const fs::path whole(path);
  for (const fs::path& part : whole.parent_path()) {
    if (part == "tests" || part == "test" || part == "testing") return true;
  }
  static const std::vector<std::string> kNames{"conftest.py", "sitecustomize.py", "usercustomize.py", "pytest.ini",
                                               "tox.ini",     "setup.cfg",        "noxfile.py"};
  const std::string name = whole.filename().string(), stem = whole.stem().string();
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  return stem.rfind("test_", 0) == 0 || (stem.size() > 5 && stem.compare(stem.size() - 5, 5, "_test") == 0);
}

Tally run_repository(const TestRun& run, const std::string& patch) {
  const RepositoryTests& tests = run.tests.repository;
  Tally tally;
  tally.total = tests.fail_to_pass.size() + tests.pass_to_pass.size();
  const Files before = read_tree(tests.directory);

  SandboxRequest apply;
  apply.language = "shell";
  apply.limits.cpu_s = 60;
  apply.limits.files_mb = 512;
  apply.command = {"/bin/sh", "-c", kApply};
  apply.fetch = "repo";
  apply.programs.push_back({.files = before});
  apply.programs[0].files.push_back({"fix.patch", patch + (patch.empty() || patch.back() != '\n' ? "\n" : "")});
  SandboxReport patched = run.sandbox.run(apply)[0];
  if (patched.outcome == Outcome::kSandboxError) {
    tally.sandbox_error = patched.reason;
    return tally;
  }
  if (patched.outcome != Outcome::kOk) {
    tally.fail("the patch does not apply: " + describe(patched));
    return tally;
  }
  const Files after = put_back(before, std::move(patched.fetched), tests.protect);

  auto run_all = [&](const std::vector<std::string>& names, const char* group) {
    for (const std::string& name : names) {
      if (std::chrono::steady_clock::now() > run.deadline) tally.out_of_time = true;
      if (tally.out_of_time || !tally.sandbox_error.empty()) return;
      SandboxReport report;
      const std::string failure = run_test(run, after, name, report);
      if (report.outcome == Outcome::kSandboxError) {
        tally.sandbox_error = report.reason;
      } else if (failure.empty()) {
        tally.passed++;
      } else {
        tally.fail(fmt::format("{} {}: {}", group, name, failure));
      }
    }
  };
  run_all(tests.fail_to_pass, "fail_to_pass");
  const size_t wanted = tally.passed;
  run_all(tests.pass_to_pass, "pass_to_pass");
  auto share = [](size_t part, size_t whole) {
    return whole == 0 ? 1.0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  tally.components.emplace_back("fail_to_pass", share(wanted, tests.fail_to_pass.size()));
  tally.components.emplace_back("pass_to_pass", share(tally.passed - wanted, tests.pass_to_pass.size()));
  return tally;
}

}  // namespace fulmen::reward
