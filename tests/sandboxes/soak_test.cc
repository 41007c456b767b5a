// Good and hostile programs in turn, long enough that a leak of a descriptor, process, mount or page per run would
// show. FULMEN_SOAK_S makes it longer.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/sandboxes/jail_fixture.h"

namespace fulmen::sandboxes {
namespace {

size_t entries(const char* directory) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory), {}));
}

size_t lines(const char* file) {
  std::ifstream in(file);
  size_t n = 0;
  for (std::string line; std::getline(in, line);) n++;
  return n;
}

size_t resident_kb() {
  std::ifstream in("/proc/self/statm");
  size_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 1024;
}

size_t processes() {
  size_t n = 0;
  const std::string own = std::to_string(getpid());
  for (const auto& e : std::filesystem::directory_iterator("/proc")) {
    if (!std::isdigit(static_cast<unsigned char>(e.path().filename().string()[0]))) continue;
    std::ifstream in(e.path() / "stat");
    std::string text((std::istreambuf_iterator<char>(in)), {});
    const size_t name_end = text.rfind(')');
    if (name_end != std::string::npos && text.compare(name_end + 4, own.size() + 1, own + " ") == 0) n++;
  }
  return n;
}

struct Census {
  size_t descriptors, mounts, children, memory_kb;
};

Census census() { return {entries("/proc/self/fd"), lines("/proc/self/mounts"), processes(), resident_kb()}; }

TEST(SandboxSoak, NothingAccumulates) {
  NEEDS_ISOLATION();
  const char* wanted = std::getenv("FULMEN_SOAK_S");
  const double seconds = wanted ? std::atof(wanted) : 8;
  const std::vector<std::string> programs{
      "print(sum(range(1000)))",
      "raise ValueError('x')",
      "import os\nwhile True: os.fork()",
      "print('a' * (2 << 20))",
      "x = []\nwhile True: x.append(b'a' * (1 << 20))",
      "import os, time\nif os.fork() == 0: time.sleep(1000)\nprint(1)",
      "open('/tmp/x', 'w').write('y' * 100000)",
      "import os\nos.kill(os.getpid(), 9)",
      "import threading\nfor i in range(10): threading.Thread(target=print, args=(i,)).start()",
      "import os\nl = []\nwhile True: l.append(os.open('/dev/null', 0))",
  };
  Slot warm(profile_of("python"), options_of());
  Slot shell(profile_of("shell"), options_of());
  Limits l = small_limits();
  l.cpu_s = 0.2;
  size_t runs = 0;
  auto round = [&] {
    for (const std::string& code : programs) {
      const nlohmann::json payload{{"mode", "script"}, {"sources", {code}}};
      const RunResult r = warm.run({{}, payload.dump(), "in", {{"f", "x", false}}, ""}, l);
      ASSERT_NE(r.outcome, Outcome::kSandboxError) << code << ": " << r.reason;
      runs++;
    }
    const RunResult r = shell.run({{"/bin/sh", "-c", "sleep 0.01 & echo $((1+1))"}, "", "", {}, ""}, l);
    ASSERT_EQ(r.out, "2\n");
    runs++;
  };
  for (int i = 0; i < 3; i++) round();  // what is allocated once is allocated now
  const Census before = census();
  const auto start = std::chrono::steady_clock::now();
  auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  do {
    round();
  } while (spent() < seconds && !HasFatalFailure());
  const Census after = census();
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.mounts, before.mounts);
  EXPECT_EQ(after.children, before.children);
  EXPECT_LT(after.memory_kb, before.memory_kb + 8192);
  std::printf(
      "%zu runs in %.0f s: descriptors %zu -> %zu, mounts %zu -> %zu, children %zu -> %zu, memory %zu -> %zu KiB\n",
      runs, spent(), before.descriptors, after.descriptors, before.mounts, after.mounts, before.children,
      after.children, before.memory_kb, after.memory_kb);
}

}  // namespace
}  // namespace fulmen::sandboxes
