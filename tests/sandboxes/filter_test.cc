// The filter itself, in a child of this test: what it forbids is forbidden whatever namespaces there are.
#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "sandboxes/jail.h"
#include "sandboxes/seccomp_filter.h"

namespace fulmen::sandboxes {
namespace {

// errno of `call` in a confined child; 0 when it went well, -1 when it was killed.
int confined(const std::function<long()>& call) {
  int ends[2];
  if (pipe(ends) != 0) return -2;
  const pid_t pid = fork();
  if (pid == 0) {
    if (!confine()) _exit(99);
    errno = 0;
    const int error = call() < 0 ? errno : 0;
    if (write(ends[1], &error, sizeof error) < 0) _exit(98);
    _exit(0);
  }
  close(ends[1]);
  int error = -1;
  if (read(ends[0], &error, sizeof error) != sizeof error) error = -1;
  close(ends[0]);
  waitpid(pid, nullptr, 0);
  return error;
}

TEST(SandboxFilter, ForbidsWhatReachesOutside) {
  EXPECT_EQ(confined([] { return socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(confined([] { return socket(AF_UNIX, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(confined([] { return socket(AF_NETLINK, SOCK_RAW, 0); }), EPERM);
  int pair[2];
  EXPECT_EQ(confined([&] { return socketpair(AF_UNIX, SOCK_DGRAM, 0, pair); }), EPERM);
  EXPECT_EQ(confined([&] { return socketpair(AF_UNIX, SOCK_STREAM, 0, pair); }), 0);
  EXPECT_EQ(confined([] { return ptrace(PTRACE_ATTACH, getppid(), 0, 0); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_process_vm_readv, getppid(), 0, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(confined([] { return mount("none", "/tmp", "tmpfs", 0, nullptr); }), EPERM);
  EXPECT_EQ(confined([] { return unshare(CLONE_NEWUSER); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_clone3, nullptr, 0); }), ENOSYS);
  EXPECT_EQ(confined([] { return syscall(SYS_setns, 0, 0); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_bpf, 0, nullptr, 0); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_keyctl, 0, 0, 0, 0, 0); }), EPERM);
  EXPECT_EQ(confined([] { return syscall(SYS_io_uring_setup, 1, nullptr); }), ENOSYS);
  EXPECT_EQ(confined([] { return syscall(SYS_memfd_create, "x", 0); }), ENOSYS);
  EXPECT_EQ(confined([] { return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600); }), EPERM);
  EXPECT_EQ(confined([] { return ioctl(0, TIOCSTI, "x"); }), ENOTTY);
  EXPECT_EQ(confined([] { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }), EPERM);
}

TEST(SandboxFilter, AProgramCannotTouchTheLimitsOfInit) {
  rlimit l{1, 1};
  EXPECT_EQ(confined([&] { return prlimit(getppid(), RLIMIT_CPU, &l, nullptr); }), EPERM);
  EXPECT_EQ(confined([&] { return setrlimit(RLIMIT_CPU, &l); }), 0);
}

TEST(SandboxFilter, AllowsWhatProgramsDo) {
  EXPECT_EQ(confined([] { return open("/dev/null", O_RDONLY); }), 0);
  EXPECT_EQ(confined([] {
              const pid_t pid = fork();
              if (pid == 0) _exit(0);
              return pid < 0 ? -1 : waitpid(pid, nullptr, 0);
            }),
            0);
  int pair[2];
  EXPECT_EQ(confined([&] {
              if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return ssize_t{-1};
              return send(pair[0], "x", 1, 0);
            }),
            0);
}

TEST(SandboxFilter, LeavesNoCapability) {
  EXPECT_EQ(confined([] { return long{setuid(getuid() + 1)}; }), EPERM);
  EXPECT_EQ(confined([] { return long{prctl(PR_CAPBSET_READ, 21, 0, 0, 0)} == 0 ? 0L : -1L; }), 0);
}

TEST(SandboxFilter, ForeignArchitectureNumbersAreNotAllowed) {
  // The x32 calls have a bit of their own and would be judged by other numbers.
  EXPECT_EQ(confined([] { return syscall(0x40000000 | SYS_getpid); }), EPERM);
}

}  // namespace
}  // namespace fulmen::sandboxes
