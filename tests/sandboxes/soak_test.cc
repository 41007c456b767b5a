// Good and hostile programs in turn, long enough that a leak of a descriptor, process, mount or page per run would
// show. FULMEN_SOAK_S=3600 makes it longer (then with the hostile programs too), FULMEN_SOAK_SHARE=0.5 leaves half of
// the time to others.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>

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

struct Census {
  size_t descriptors = 0, mounts = 0, processes = 0, memory_kb = 0, own_kb = 0;
};

// Processes: everything that descends from this one, the jails with their warm interpreter included. Memory: of them
// all.
Census census() {
  struct Process {
    long parent = 0;
    size_t pages = 0;
  };
  std::map<long, Process> all;
  for (const auto& e : std::filesystem::directory_iterator("/proc")) {
    const std::string name = e.path().filename().string();
    if (!std::isdigit(static_cast<unsigned char>(name[0]))) continue;
    std::ifstream in(e.path() / "stat"), memory(e.path() / "statm");
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    const size_t name_end = text.rfind(')');
    if (name_end == std::string::npos) continue;
    Process p;
    char state = 0;
    size_t total = 0;
    std::istringstream(text.substr(name_end + 1)) >> state >> p.parent;
    memory >> total >> p.pages;
    all[std::stol(name)] = p;
  }
  const size_t page_kb = static_cast<size_t>(sysconf(_SC_PAGESIZE)) / 1024;
  Census c{entries("/proc/self/fd"), lines("/proc/self/mounts")};
  for (const auto& [pid, p] : all) {
    long up = pid;
    while (up > 1 && up != getpid()) up = all.count(up) ? all[up].parent : 0;
    if (up != getpid()) continue;
    c.processes++;
    c.memory_kb += p.pages * page_kb;
    if (pid == getpid()) c.own_kb = p.pages * page_kb;
  }
  return c;
}

void print(const char* when, const Census& c) {
  std::printf("%-5s descriptors %zu, mounts %zu, processes %zu, memory %zu KiB, of it this process %zu KiB\n", when,
              c.descriptors, c.mounts, c.processes, c.memory_kb, c.own_kb);
  std::fflush(stdout);
}

double setting(const char* name, double standard) {
  const char* text = std::getenv(name);
  return text ? std::atof(text) : standard;
}

TEST(SandboxSoak, NothingAccumulates) {
  NEEDS_ISOLATION();
  const double seconds = setting("FULMEN_SOAK_S", 8), share = setting("FULMEN_SOAK_SHARE", 1);
  std::vector<std::string> programs{
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
  if (seconds > 60) {  // slow ones too: they end by a limit
    std::ifstream in(FULMEN_SOURCE_DIR "/tests/sandboxes/hostile_programs.jsonl");
    for (std::string line; std::getline(in, line);) programs.push_back(nlohmann::json::parse(line)["code"]);
  }
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
  print("start", before);
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  auto since = [](Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); };
  size_t rounds = 0;
  do {
    const auto began = Clock::now();
    round();
    if (share < 1) std::this_thread::sleep_for(std::chrono::duration<double>(since(began) * (1 / share - 1)));
    if (++rounds % 25 == 0) print((std::to_string(static_cast<int>(since(start))) + " s").c_str(), census());
  } while (since(start) < seconds && !HasFatalFailure());
  const Census after = census();
  print("end", after);
  std::printf("%zu runs in %.0f s\n", runs, since(start));
  EXPECT_EQ(after.descriptors, before.descriptors);
  EXPECT_EQ(after.mounts, before.mounts);
  EXPECT_EQ(after.processes, before.processes);
  EXPECT_LT(after.memory_kb, before.memory_kb + 8192);
}

}  // namespace
}  // namespace fulmen::sandboxes
