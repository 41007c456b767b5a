// Programs written to break out, to stay, or to fake a pass (hostile_programs.jsonl). Whether they would pass tests is
// tested in tests/reward; here: each one ends with a verdict about itself, nothing of it is left, the slot goes on.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "sandboxes/process_scan.h"
#include "tests/sandboxes/jail_fixture.h"

namespace fulmen::sandboxes {
namespace {

class Hostile : public ::testing::TestWithParam<CgroupMode> {};

TEST_P(Hostile, ProgramsEndAndLeaveNothing) {
  NEEDS_ISOLATION();
  Slot slot(profile_of("python"), options_of(GetParam()));
  Limits l = small_limits();
  l.cpu_s = 0.5;
  l.processes = 32;
  l.memory_mb = 256;
  const std::set<std::string> limited{"out_flood", "busy", "ignore_term", "regex_bt"};
  std::ifstream in(FULMEN_SOURCE_DIR "/tests/sandboxes/hostile_programs.jsonl");
  int count = 0;
  double slowest_kill_ms = 0;
  for (std::string line; std::getline(in, line); count++) {
    const auto program = nlohmann::json::parse(line);
    const std::string id = program["id"];
    const nlohmann::json payload{{"mode", "script"}, {"sources", {program["code"]}}};
    const RunResult r = slot.run({{}, payload.dump(), "", {}, ""}, l);
    EXPECT_NE(r.outcome, Outcome::kSandboxError) << id << ": " << r.reason;
    if (limited.count(id)) {
      EXPECT_TRUE(r.outcome == Outcome::kTimeLimit || r.outcome == Outcome::kOutputLimit) << id << ": " << r.reason;
    }
    slowest_kill_ms = std::max(slowest_kill_ms, r.kill_ms);
    if (id == "ok") {
      EXPECT_EQ(r.outcome, Outcome::kOk) << r.err;
    }
  }
  EXPECT_GT(count, 25);
  std::printf("%d programs, slowest kill %.1f ms\n", count, slowest_kill_ms);  // figures are not asserted
  const RunResult after = slot.run(
      {{},
       R"json({"mode":"script","sources":["import os\nprint(sorted(p for p in os.listdir('/proc') if p.isdigit()))"]})json",
       "",
       {},
       ""},
      l);
  EXPECT_EQ(after.out, "['1', '2']\n") << after.reason;
}

INSTANTIATE_TEST_SUITE_P(Cgroups, Hostile, ::testing::Values(CgroupMode::kAuto, CgroupMode::kNone));

}  // namespace
}  // namespace fulmen::sandboxes
