// Runs in real jails. Every property holds with each kind of control groups, or with none.
#include "sandboxes/slot.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/sandboxes/jail_fixture.h"

namespace fulmen::sandboxes {
namespace {

using ::testing::HasSubstr;

class Jail : public ::testing::TestWithParam<CgroupMode> {
 protected:
  void SetUp() override { NEEDS_ISOLATION(); }
  Slot python{cold(profile_of("python")), options_of(GetParam())};
  Slot shell{profile_of("shell"), options_of(GetParam())};

  RunResult sh(const std::string& script, const Limits& l = small_limits()) {
    return shell.run({{"/bin/sh", "-c", script}, "", "", {}, ""}, l);
  }
  RunResult py(const std::string& code, const Limits& l = small_limits()) { return python.run(python_file(code), l); }
};

TEST_P(Jail, InputGoesInAndOutputComesOut) {
  const RunResult r = python.run(
      python_file("import sys\nprint(sys.stdin.read()[::-1]); print('e', file=sys.stderr)", "abc"), small_limits());
  EXPECT_EQ(r.outcome, Outcome::kOk) << r.reason << r.err;
  EXPECT_EQ(r.out, "cba\n");
  EXPECT_EQ(r.err, "e\n");
}

TEST_P(Jail, ExitCodesAndSignalsAreRuntimeErrors) {
  const RunResult exit = sh("exit 3");
  EXPECT_EQ(exit.outcome, Outcome::kRuntimeError);
  EXPECT_EQ(exit.exit_code, 3);
  const RunResult signal = sh("kill -SEGV $$");
  EXPECT_EQ(signal.outcome, Outcome::kRuntimeError);
  EXPECT_EQ(signal.signal, SIGSEGV);
}

TEST_P(Jail, CpuTimeDecides) {
  Limits l = small_limits();
  l.cpu_s = 0.3;
  const RunResult busy = py("while True: pass", l);
  EXPECT_EQ(busy.outcome, Outcome::kTimeLimit);
  EXPECT_THAT(busy.reason, HasSubstr("CPU time"));
  EXPECT_GT(busy.kill_ms, 0);
}

TEST_P(Jail, CpuTimeOfChildrenCountsTogether) {
  Limits l = small_limits();
  l.cpu_s = 0.4;
  // Each of them stays below the limit of one process.
  const RunResult r = sh("while :; do /usr/bin/python3 -I -S -c 'for i in range(1000000): pass'; done", l);
  EXPECT_EQ(r.outcome, Outcome::kTimeLimit);
  EXPECT_THAT(r.reason, HasSubstr("CPU time"));
}

TEST_P(Jail, ASleeperIsStoppedThoughItUsesNoCpu) {
  Limits l = small_limits();
  l.cpu_s = 0.1;
  const RunResult r = sh("sleep 1000", l);
  EXPECT_EQ(r.outcome, Outcome::kTimeLimit);
  EXPECT_LT(r.cpu_ms, 100);
  EXPECT_LT(r.wall_ms, 60000);
}

TEST_P(Jail, MemoryIsLimited) {
  const RunResult r = py("x = []\nwhile True: x.append(b'a' * (1 << 20))");
  EXPECT_EQ(r.outcome, Outcome::kMemoryLimit) << r.reason << r.err;
  const RunResult shared = py("f = open('/dev/shm/x', 'wb')\nwhile True: f.write(b'a' * (1 << 20))");
  EXPECT_NE(shared.outcome, Outcome::kOk);
  EXPECT_NE(shared.outcome, Outcome::kSandboxError) << shared.reason;
}

TEST_P(Jail, OutputIsLimited) {
  EXPECT_EQ(py("while True: print('a' * 65536)").outcome, Outcome::kOutputLimit);
  EXPECT_EQ(py("import sys\nwhile True: sys.stderr.write('a' * 65536)").outcome, Outcome::kOutputLimit);
}

TEST_P(Jail, ProcessesAreLimitedThoughTheyAreForkedAsRoot) {
  Limits l = small_limits();
  l.processes = 20;
  const RunResult r =
      py("import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(100)\n    n += 1\n"
         "except OSError as e: print(n, e.errno)",
         l);
  EXPECT_EQ(r.outcome, Outcome::kOk) << r.reason << r.err;
  const int forks = std::atoi(r.out.c_str());
  EXPECT_GE(forks, 10);
  EXPECT_LE(forks, 24);
  EXPECT_THAT(r.out, HasSubstr("11"));  // EAGAIN
}

TEST_P(Jail, NothingOfARunIsLeft) {
  const RunResult r =
      py("import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(4711)\n"
         "  os._exit(0)\nprint(1)");
  EXPECT_EQ(r.outcome, Outcome::kOk);
  EXPECT_EQ(r.out, "1\n");
  EXPECT_EQ(sh("for p in /proc/[0-9]*; do cat $p/comm; done").out, "sandbox_slot_te\nsh\n");
}

TEST_P(Jail, FilesDoNotPassFromRunToRun) {
  EXPECT_EQ(sh("echo x > /tmp/left; ls /tmp").out, "left\n");
  EXPECT_EQ(sh("ls -A /tmp /dev/shm").out, "/dev/shm:\n\n/tmp:\n");
  EXPECT_NE(sh("echo x > /usr/x || echo x > /x || echo x > /etc/x").outcome, Outcome::kOk);
}

TEST_P(Jail, TheHostIsOutOfSight) {
  EXPECT_EQ(sh("ls -d /root /home /etc/shadow /var /sys 2>/dev/null").out, "");
  EXPECT_THAT(sh("env").out, ::testing::Not(HasSubstr("FULMEN")));
  EXPECT_EQ(sh("id -u; hostname").out, "1000\nsandbox\n");
  EXPECT_EQ(py("import os\nprint(sorted(os.listdir('/proc/self/fd')))").out, "['0', '1', '2', '3']\n");  // 3: the list
  const RunResult kill = py("import os, signal\nos.kill(1, signal.SIGKILL)\nprint('alive')");
  EXPECT_EQ(kill.outcome, Outcome::kOk);
  EXPECT_EQ(kill.out, "alive\n");
}

TEST_P(Jail, OtherHalvesAreJoinedByASocketAlone) {
  Slot warm(profile_of("python"), options_of(GetParam()));
  const auto payload = [](const std::string& code) {
    return R"json({"mode":"script","sources":[")json" + code + R"json("]})json";
  };
  const auto [first, second] = warm.run_pair(
      {{}, payload("import os\\nprint(os.read(5, 9)); os.write(5, b'back')\\nwhile True: pass"), "", {}, ""},
      {{},
       payload("import os\\nos.write(5, b'forth'); os.write(4, os.read(5, 9)); print(len(os.listdir('/proc')))"),
       "",
       {},
       ""},
      small_limits());
  EXPECT_EQ(second.outcome, Outcome::kOk) << second.reason << second.err;
  EXPECT_EQ(second.result, "back");
  EXPECT_EQ(first.outcome, Outcome::kOk) << "the first is stopped when the second has ended: " << first.reason;
}

TEST_P(Jail, AFileIsBroughtBack) {
  const RunResult r =
      shell.run({{"/bin/sh", "-c", "mkdir d; echo 1 > d/a; echo 2 > b"}, "", "", {}, "d"}, small_limits());
  ASSERT_EQ(r.fetched.size(), 1u) << r.reason;
  EXPECT_EQ(r.fetched[0].path, "d/a");
  EXPECT_EQ(r.fetched[0].content, "1\n");
}

TEST_P(Jail, ABrokenSlotIsTheSandboxesFaultAndMendsItself) {
  const RunResult r = shell.run({{"/no/such/program"}, "", "", {}, ""}, small_limits());
  EXPECT_EQ(r.outcome, Outcome::kSandboxError);
  EXPECT_THAT(r.reason, HasSubstr("execute: No such file"));
  EXPECT_EQ(sh("echo again").out, "again\n");
}

TEST_P(Jail, AnInterpreterThatDoesNotStartIsNamed) {
  Profile p = profile_of("python");
  p.preload = {"no_such_module"};
  Slot slot(p, options_of(GetParam()));
  const RunResult r = slot.run({{}, R"({"mode":"script"})", "", {}, ""}, small_limits());
  EXPECT_EQ(r.outcome, Outcome::kSandboxError);
  EXPECT_THAT(r.reason, HasSubstr("no_such_module"));
}

std::string mode_name(const ::testing::TestParamInfo<CgroupMode>& mode) {
  constexpr const char* kNames[] = {"Auto", "V2", "V1", "None"};
  return kNames[static_cast<int>(mode.param)];
}

INSTANTIATE_TEST_SUITE_P(Cgroups, Jail,
                         ::testing::Values(CgroupMode::kAuto, CgroupMode::kV1, CgroupMode::kV2, CgroupMode::kNone),
                         mode_name);

TEST(UnisolatedJail, MustBeAskedForAndStillHasLimits) {
  Profile p = cold(profile_of("python"));
  p.isolated = false;
  Slot slot(p, options_of());
  const RunResult good = slot.run(python_file("print(open(__file__).name[-10:])"), small_limits());
  EXPECT_EQ(good.outcome, Outcome::kOk) << good.reason << good.err;
  EXPECT_EQ(good.out, "program.py\n");
  const RunResult network = slot.run(python_file("import socket\nsocket.socket()"), small_limits());
  EXPECT_EQ(network.outcome, Outcome::kRuntimeError);
  EXPECT_THAT(network.err, HasSubstr("PermissionError"));
  Limits l = small_limits();
  l.cpu_s = 0.3;
  EXPECT_EQ(slot.run(python_file("while True: pass"), l).outcome, Outcome::kTimeLimit);
  const RunResult daemon = slot.run(
      python_file("import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(4712)\nprint(1)"), small_limits());
  EXPECT_EQ(daemon.out, "1\n");
}

// fulmen-sandbox itself, started by a shell after `prefix`; its output and "exit N".
std::string output_of(const std::string& prefix, const std::string& arguments) {
  FILE* pipe = popen((prefix + " " + arguments + " 2>&1 </dev/null").c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
  return text + "exit " + std::to_string(WEXITSTATUS(pclose(pipe)));
}

class Installed : public ::testing::Test {  // the program where any user can read it
 protected:
  void SetUp() override {
    NEEDS_ISOLATION();
    namespace fs = std::filesystem;
    char name[] = "/tmp/fulmen-user-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    directory_ = name;
    for (const char* file : {"fulmen-sandbox", "libfulmen_jail.so"}) {
      fs::copy_file(fs::path(FULMEN_BINARY_DIR) / file, fs::path(directory_) / file);
    }
    std::ofstream(directory_ + "/p.py") << "import os\nprint('as', os.getuid())\n";
    std::ofstream(directory_ + "/none.yaml")
        << "{language: python, source: p.py, run: [/usr/bin/python3, p.py], isolation: none}";
    chmod(directory_.c_str(), 0755);
  }
  void TearDown() override {
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }
  std::string directory_;
};

TEST_F(Installed, AnOrdinaryUserCanRunJails) {
  if (geteuid() != 0) GTEST_SKIP() << "the other tests ran as an ordinary user already";
  const std::string prefix =
      "cd " + directory_ + " && exec setpriv --reuid=65534 --regid=65534 --clear-groups ./fulmen-sandbox";
  const std::string run = output_of(prefix, "run python p.py");
  if (run.find("refuses") != std::string::npos) GTEST_SKIP() << "ordinary users may not make namespaces here: " << run;
  EXPECT_THAT(run, HasSubstr("as 1000\n"));
  EXPECT_THAT(run, HasSubstr("[OK"));
  const std::string doctor = output_of(prefix, "doctor");
  EXPECT_THAT(doctor, HasSubstr("as an ordinary user (uid 65534)"));
  EXPECT_THAT(doctor, HasSubstr("exit 0"));
}

TEST_F(Installed, RootOfAUserNamespaceCanRunJails) {
  EXPECT_THAT(output_of("cd " + directory_ + " && unshare -Ur ./fulmen-sandbox", "run python p.py"), HasSubstr("[OK"));
}

TEST_F(Installed, WithoutNamespacesNothingUntrustedRunsUnlessAProfileSaysSo) {
  const std::string prefix = "cd " + directory_ +
                             " && unshare -Ur sh -c 'echo 0 > /proc/sys/user/max_user_namespaces && exec "
                             "./fulmen-sandbox \"$@\"' sh";
  const std::string doctor = output_of(prefix, "doctor");
  if (doctor.find("max_user_namespaces") == std::string::npos)
    GTEST_SKIP() << "cannot switch namespaces off: " << doctor;
  EXPECT_THAT(doctor, HasSubstr("STOP"));
  EXPECT_THAT(doctor, HasSubstr("refused without namespaces"));
  EXPECT_THAT(doctor, HasSubstr("exit 1"));
  const std::string run = output_of(prefix, "run python p.py");
  EXPECT_THAT(run, HasSubstr("[SE: the kernel refuses"));
  EXPECT_THAT(run, ::testing::Not(HasSubstr("as ")));
  EXPECT_THAT(output_of(prefix, "--profile none.yaml run python p.py"), HasSubstr("as "));
}

}  // namespace
}  // namespace fulmen::sandboxes
