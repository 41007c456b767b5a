#include "sandboxes/cgroup.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

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

// A directory that looks like a delegated version 2 group with controllers, for machines whose kernel gives them to
// version 1: what is read and written is checked, not what the kernel makes of it.
class Delegated : public ::testing::Test {
 protected:
  Delegated() : top_(testing::TempDir() + "/cgroup2." + std::to_string(getpid())) {
    std::filesystem::remove_all(top_);
    write("cgroup.procs", "");
    write("cgroup.controllers", "cpu memory pids\n");
    write("cgroup.subtree_control", "memory pids\n");
    write(leaf("probe") + "cgroup.procs", "");
    for (const char* file : {"cgroup.procs", "cgroup.kill", "memory.max", "memory.swap.max", "memory.peak", "pids.max"})
      write(leaf("a") + file, "");
    write(leaf("a") + "cpu.stat", "usage_usec 1234\nuser_usec 1000\n");
    write(leaf("a") + "memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n");
  }
  ~Delegated() override { std::filesystem::remove_all(top_); }

  static std::string leaf(const std::string& name) { return "fulmen-" + std::to_string(getpid()) + "-" + name + "/"; }
  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(top_ + "/" + file).parent_path());
    std::ofstream(top_ + "/" + file) << text;
  }
  std::string read(const std::string& file) const {
    std::ifstream in(top_ + "/" + file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  CgroupPlaces find(CgroupMode mode) const {
    return find_cgroups(mode, "cgroup2 " + top_ + " cgroup2 rw 0 0\ncgroup /proc/sys cgroup rw,memory 0 0\n", "0::/\n");
  }

  const std::string top_;
};

TEST_F(Delegated, IsEnoughByItself) {
  for (const CgroupMode mode : {CgroupMode::kAuto, CgroupMode::kV2}) {
    const CgroupPlaces p = find(mode);
    EXPECT_EQ(p.v2, top_);
    EXPECT_TRUE(p.v2_memory && p.v2_pids);
    EXPECT_TRUE(p.v1.empty() && p.missing.empty());
  }
  EXPECT_TRUE(find(CgroupMode::kV1).v2.empty());
  EXPECT_TRUE(find(CgroupMode::kNone).v2.empty());
}

TEST_F(Delegated, LimitsCountsAndKillsGoToItsFiles) {
  Cgroup group(find(CgroupMode::kAuto), "a");
  EXPECT_TRUE(group.counts_cpu() && group.limits_memory() && group.limits_processes());
  EXPECT_EQ(read(leaf("a") + "memory.swap.max"), "0") << "memory is not to be had as swap";
  group.set_limits(64 << 20, 10);
  EXPECT_EQ(read(leaf("a") + "memory.max"), std::to_string(64 << 20));
  EXPECT_EQ(read(leaf("a") + "pids.max"), "10");
  EXPECT_EQ(read(leaf("a") + "memory.peak"), "0") << "counted anew for each run";
  EXPECT_TRUE(group.attach(4711));
  EXPECT_EQ(read(leaf("a") + "cgroup.procs"), "4711");
  EXPECT_EQ(group.cpu_us(), 1234u);
  EXPECT_EQ(group.out_of_memory_kills(), 3u);
  group.kill_all();
  EXPECT_EQ(read(leaf("a") + "cgroup.kill"), "1");
}

TEST_F(Delegated, WithoutControllersVersion1IsLookedAtToo) {
  write("cgroup.controllers", "");
  write("cgroup.subtree_control", "");
  const CgroupPlaces p = find(CgroupMode::kAuto);
  EXPECT_EQ(p.v2, top_) << "it still counts CPU time and kills";
  EXPECT_FALSE(p.v2_memory || p.v2_pids);
  EXPECT_TRUE(p.missing.count("cgroup v2 limits") == 1 && p.missing.count("cgroup v1 memory") == 1);
  const Cgroup group(p, "a");
  EXPECT_TRUE(group.counts_cpu());
  EXPECT_FALSE(group.limits_memory() || group.limits_processes());
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
