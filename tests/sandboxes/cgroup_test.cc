#include "sandboxes/cgroup.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "sandboxes/error.h"

namespace fulmen::sandboxes {
namespace {

TEST(SandboxCgroup, NothingIsUsedWhereNothingIsMounted) {
  const CgroupPlaces p = find_cgroups(CgroupMode::kAuto, "proc /proc proc rw 0 0\n", "0::/\n");
  EXPECT_TRUE(p.v2.empty());
  EXPECT_TRUE(p.v1.empty());
  EXPECT_EQ(p.missing.at("cgroup v2"), "not mounted");
  EXPECT_EQ(p.missing.at("cgroup v1 memory"), "not mounted");
  const Cgroup none(p, "test-none");
  EXPECT_FALSE(none.counts_cpu() || none.limits_memory() || none.limits_processes());
}

TEST(SandboxCgroup, AHierarchyWithoutRightsIsNotUsable) {
  const CgroupPlaces p =
      find_cgroups(CgroupMode::kAuto, "cgroup2 /proc cgroup2 rw 0 0\ncgroup /proc/sys cgroup rw,memory 0 0\n",
                   "4:memory:/a/b\n0::/user\n");
  EXPECT_TRUE(p.v2.empty());
  EXPECT_TRUE(p.v1.empty());
  EXPECT_NE(p.missing.at("cgroup v1 memory").find("no right"), std::string::npos);
}

TEST(SandboxCgroup, ModesLimitWhatIsLookedAt) {
  EXPECT_TRUE(find_cgroups(CgroupMode::kV2).v1.empty());
  EXPECT_TRUE(find_cgroups(CgroupMode::kV1).v2.empty());
  const CgroupPlaces none = find_cgroups(CgroupMode::kNone);
  EXPECT_TRUE(none.v1.empty() && none.v2.empty() && none.missing.empty());
  EXPECT_THROW(parse_cgroup_mode("v3"), SandboxError);
}

// Against the real hierarchies, whichever this machine has.
class Real : public ::testing::TestWithParam<CgroupMode> {};

TEST_P(Real, CountsCpuTimeAndGoesAway) {
  const CgroupPlaces places = find_cgroups(GetParam());
  if (places.v2.empty() && places.v1.empty()) GTEST_SKIP() << "no control group of this kind may be made here";
  std::string leaf;
  {
    Cgroup group(places, "test");
    if (!group.counts_cpu()) GTEST_SKIP() << "no CPU accounting here";
    const pid_t pid = fork();
    if (pid == 0) {
      for (;;) getppid();
    }
    ASSERT_TRUE(group.attach(pid));
    const uint64_t before = group.cpu_us();
    for (int i = 0; i < 500 && group.cpu_us() < before + 20000; i++) usleep(10000);
    EXPECT_GE(group.cpu_us(), before + 20000);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    group.set_limits(64 << 20, 10);
    EXPECT_EQ(group.out_of_memory_kills(), 0u);
  }
  const std::string name = "fulmen-" + std::to_string(getpid()) + "-test";
  if (!places.v2.empty()) {
    EXPECT_FALSE(std::filesystem::exists(places.v2 + "/" + name));
  }
  for (const auto& [controller, directory] : places.v1) {
    EXPECT_FALSE(std::filesystem::exists(directory + "/" + name)) << controller;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Real, ::testing::Values(CgroupMode::kV2, CgroupMode::kV1, CgroupMode::kAuto));

}  // namespace
}  // namespace fulmen::sandboxes
