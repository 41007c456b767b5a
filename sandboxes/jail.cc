#include "sandboxes/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandboxes/archive.h"
#include "sandboxes/seccomp_filter.h"

namespace fulmen::sandboxes {
namespace {

constexpr int kMaxRuns = 8;
constexpr int kHighFd = 24;  // received descriptors move here, out of the way of 0..5

struct Running {
  uint32_t run = 0;
  pid_t pid = -1;
  int pidfd = -1;
};

uint64_t cpu_us(const rusage& u) {
  return static_cast<uint64_t>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000u +
         static_cast<uint64_t>(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

[[noreturn]] void report_and_exit(int status_fd, uint64_t nonce, const char* step, int error, int wait_status) {
  JailStatus s{};
  s.nonce = nonce;
  s.error = error;
  strncpy(s.step, step, sizeof s.step - 1);
  s.wait_status = wait_status;
  rusage u{};
  getrusage(RUSAGE_CHILDREN, &u);
  s.cpu_us = cpu_us(u);
  s.max_rss_kb = static_cast<uint64_t>(u.ru_maxrss);
  ssize_t n = write(status_fd, &s, sizeof s);
  _exit(n == sizeof s ? 0 : 1);
}

void write_file(const char* path, const char* text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, text, strlen(text)) < 0) {  // absent or refused: only the choice of the out-of-memory killer is worse
  }
  close(fd);
}

void default_signals() {
  for (int s = 1; s < 32; s++) signal(s, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

const char* mount_fresh(const JailMessage& m) {
  // Not allowed where a container hides parts of its own /proc; programs then do without.
  if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0 && errno != EPERM)
    return "mount /proc";
  char options[96];
  snprintf(options, sizeof options, "mode=0755,size=%llu,nr_inodes=%llu",
           static_cast<unsigned long long>(m.limits.files_bytes),
           static_cast<unsigned long long>(m.limits.files_count));
  if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, options) != 0) return "mount /tmp";
  return chdir("/tmp") == 0 ? nullptr : "chdir /tmp";
}

// The program's descriptors to 0..5, everything else closed but `keep`, which moves to 6.
void place_descriptors(const int* fd, int keep) {
  for (int i = 0; i < kFdProgramEnd; i++) {
    if (fd[i] >= 0) {
      dup2(fd[i], i);
    } else {
      close(i);
    }
  }
  dup2(keep, kFdProgramEnd);
  fcntl(kFdProgramEnd, F_SETFD, FD_CLOEXEC);
  syscall(SYS_close_range, kFdProgramEnd + 1u, ~0u, 0u);
}

struct Failure {  // of a step between fork and program
  int error;
  char step[28];
};

// Returns in the program's process.
void become_program(JailMessage& m, const int* fd, int failure) {
  auto fail = [](const char* step) {
    Failure why{errno, {}};
    strncpy(why.step, step, sizeof why.step - 1);
    if (write(kFdProgramEnd, &why, sizeof why) < 0) _exit(126);
    _exit(127);
  };
  m.nonce = 0;
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);  // so that it may use its own /proc/self
  write_file("/proc/self/oom_score_adj", "1000");
  place_descriptors(fd, failure);
  setsid();
  jail_set_limits(m.limits);
  if (m.argc > 0) default_signals();
  if (!confine()) fail("confine");
  if (m.argc == 0) {
    close(kFdProgramEnd);
    return;
  }
  char* list[512];
  uint32_t n = m.argc + m.envc;
  if (n + 2 > sizeof list / sizeof *list) {
    errno = E2BIG;
    fail("arguments");
  }
  char* at = const_cast<char*>(m.strings);
  uint32_t slot = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (i == m.argc) list[slot++] = nullptr;
    list[slot++] = at;
    at += strlen(at) + 1;
  }
  if (m.envc == 0) list[slot++] = nullptr;
  list[slot] = nullptr;
  execve(list[0], list, list + m.argc + 1);
  fail("execute");
}

// Without namespaces nothing but this finds what the program left behind: init adopted it.
void kill_descendants() {
  for (int round = 0; round < 200; round++) {
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", static_cast<int>(getpid()));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return;
    text[n] = '\0';
    for (char *at = text, *end; *at; at = end) {
      long pid = strtol(at, &end, 10);
      if (end == at) break;
      kill(static_cast<pid_t>(pid), SIGKILL);
      while (*end == ' ') end++;
    }
    while (waitpid(-1, nullptr, round < 100 ? 0 : WNOHANG) > 0) {
    }
  }
}

// pid 1 of the run. Returns only in the program's process.
void run_init(JailMessage& m, int* fd, bool namespaces) {
  int status_fd = fd[kFdStatus];
  auto fail = [&](const char* step) { report_and_exit(status_fd, m.nonce, step, errno, 0); };
  if (namespaces) {
    if (const char* step = mount_fresh(m)) fail(step);
  } else {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (chdir(m.work) != 0) fail("chdir to the work directory");
  }
  if (fd[kFdFiles] >= 0 && !unpack_archive(fd[kFdFiles])) fail("unpack files");

  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) fail("pipe");
  for (int& end : failure) {
    int high = fcntl(end, F_DUPFD_CLOEXEC, kHighFd);
    close(end);
    end = high;
  }
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  // Handlers that a library of the supervisor registered for fork() would wait for threads that are not here. A warm
  // interpreter goes on in this process image, so libc must know of the fork.
  const pid_t program = m.argc > 0 ? static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) : fork();
  if (program < 0) fail("fork");
  if (program == 0) {
    become_program(m, fd, failure[1]);
    return;
  }
  for (int i = 0; i < kFdProgramEnd; i++) {
    close(i);
    if (fd[i] >= 0) close(fd[i]);
  }
  close(failure[1]);
  Failure why{};
  ssize_t told = read(failure[0], &why, sizeof why);
  int wait_status = 0;
  for (;;) {
    int s;
    pid_t ended = waitpid(-1, &s, 0);
    if (ended == program) {
      wait_status = s;
      break;
    }
    if (ended < 0 && errno != EINTR) break;
  }
  if (told > 0) report_and_exit(status_fd, m.nonce, why.step, why.error, 0);
  if (namespaces && m.fetch[0]) kill(-1, SIGKILL);  // nobody may change what is packed
  if (!namespaces) kill_descendants();
  if (m.fetch[0] && fd[kFdFetch] >= 0 && !pack_archive(m.fetch, fd[kFdFetch]) && errno != ENOENT) fail("fetch");
  report_and_exit(status_fd, m.nonce, "", 0, wait_status);
}

struct Received {
  JailMessage message;
  int fd[kFdEnd];
};

// False when the supervisor is gone.
bool receive(int control, Received& r) {
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kFdEnd)];
  iovec io{&r.message, sizeof r.message};
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  h.msg_control = space;
  h.msg_controllen = sizeof space;
  ssize_t n;
  do {
    n = recvmsg(control, &h, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof r.message) return false;
  for (int& f : r.fd) f = -1;
  cmsghdr* c = CMSG_FIRSTHDR(&h);
  const int* list = c ? reinterpret_cast<const int*>(CMSG_DATA(c)) : nullptr;
  for (int i = 0, at = 0; list && i < kFdEnd; i++) {
    if (!(r.message.fd_mask >> i & 1)) continue;
    int low = list[at++];
    r.fd[i] = fcntl(low, F_DUPFD_CLOEXEC, kHighFd);
    close(low);
  }
  return true;
}

void tell_ended(int control, Running& r, int error, const rusage& u) {
  JailEnded e{r.run, error, cpu_us(u), static_cast<uint64_t>(u.ru_maxrss)};
  if (send(control, &e, sizeof e, MSG_NOSIGNAL) < 0) _exit(0);  // nobody listens any more
  if (r.pidfd >= 0) close(r.pidfd);
  r = Running{};
}

bool set_capabilities(uint64_t bits) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {{static_cast<uint32_t>(bits), static_cast<uint32_t>(bits), 0},
                                    {static_cast<uint32_t>(bits >> 32), static_cast<uint32_t>(bits >> 32), 0}};
  return syscall(SYS_capset, &header, data) == 0;
}

// A received message lives here: the program's process reads its strings after the return.
Received received;

// True in the program's process.
bool start_run(int control, Running& slot, bool namespaces) {
  int pidfd = -1;
  unsigned long flags = SIGCHLD | CLONE_PIDFD;
  if (namespaces) flags |= CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC;
#ifdef __aarch64__
  long pid = syscall(SYS_clone, flags, nullptr, &pidfd, 0, nullptr);
#else
  long pid = syscall(SYS_clone, flags, nullptr, &pidfd, nullptr, 0);
#endif
  if (pid == 0) {
    close(control);
    run_init(received.message, received.fd, namespaces);
    return true;
  }
  int error = pid < 0 ? errno : 0;
  for (int f : received.fd) {
    if (f >= 0) close(f);
  }
  slot.run = received.message.run;
  if (pid < 0) {
    tell_ended(control, slot, error, rusage{});
    return false;
  }
  slot.pid = static_cast<pid_t>(pid);
  slot.pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, kHighFd);
  close(pidfd);
  return false;
}

}  // namespace

bool confine() {
  for (int c = 0; c <= 63; c++) {
    if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) != 0 && errno == EINVAL) break;
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (!set_capabilities(0)) return false;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
  return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &seccomp_program()) == 0;
}

void jail_set_limits(const JailLimits& l) {
  auto set = [](int which, uint64_t soft, uint64_t hard) {
    rlimit now{}, want{soft, hard};
    getrlimit(static_cast<__rlimit_resource_t>(which), &now);
    if (want.rlim_max > now.rlim_max) want.rlim_max = now.rlim_max;
    if (want.rlim_cur > want.rlim_max) want.rlim_cur = want.rlim_max;
    setrlimit(static_cast<__rlimit_resource_t>(which), &want);
  };
  set(RLIMIT_CPU, l.cpu_s, l.cpu_s + 1);
  if (l.address_bytes > 0) set(RLIMIT_AS, l.address_bytes, l.address_bytes);
  set(RLIMIT_FSIZE, l.file_bytes, l.file_bytes);
  set(RLIMIT_STACK, l.stack_bytes, l.stack_bytes);
  set(RLIMIT_NPROC, l.processes, l.processes);
  set(RLIMIT_NOFILE, l.open_files, l.open_files);
  set(RLIMIT_CORE, 0, 0);
  set(RLIMIT_MEMLOCK, 0, 0);
  set(RLIMIT_MSGQUEUE, 0, 0);
}

const JailMessage& jail_serve(int control, bool namespaces) {
  Running runs[kMaxRuns];
  for (;;) {
    pollfd list[kMaxRuns + 1];
    for (int i = 0; i < kMaxRuns; i++) list[i] = {runs[i].pidfd, POLLIN, 0};
    list[kMaxRuns] = {control, POLLIN, 0};
    if (poll(list, kMaxRuns + 1, -1) < 0) continue;
    for (int i = 0; i < kMaxRuns; i++) {
      rusage u{};
      if (runs[i].pid > 0 && list[i].revents && wait4(runs[i].pid, nullptr, 0, &u) == runs[i].pid) {
        tell_ended(control, runs[i], 0, u);
      }
    }
    if (!list[kMaxRuns].revents) continue;
    if (!receive(control, received)) _exit(0);
    Running* free_slot = nullptr;
    for (Running& r : runs) {
      if (received.message.op == JailOp::kKill && r.pid > 0 && r.run == received.message.run) {
        syscall(SYS_pidfd_send_signal, r.pidfd, SIGKILL, nullptr, 0);
      }
      if (r.pid < 0) free_slot = &r;
    }
    if (received.message.op == JailOp::kRun && free_slot && start_run(control, *free_slot, namespaces)) {
      return received.message;
    }
  }
}

}  // namespace fulmen::sandboxes

extern "C" int fulmen_jail_serve(int control, int namespaces) {
  fulmen::sandboxes::jail_serve(control, namespaces != 0);
  return 0;
}
