#include "sandboxes/seccomp_filter.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace fulmen::sandboxes {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArch = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArch = AUDIT_ARCH_AARCH64;
#else
#error "the system call filter knows x86-64 and arm64"
#endif

// Allowed whatever the arguments.
constexpr uint32_t kAllowed[] = {
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_preadv2,
    SYS_pwritev2,
    SYS_close,
    SYS_close_range,
    SYS_openat,
    SYS_openat2,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_lseek,
    SYS_mmap,
    SYS_mprotect,
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_msync,
    SYS_mincore,
    SYS_membarrier,
    SYS_mlock,
    SYS_munlock,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_rt_sigpending,
    SYS_rt_sigsuspend,
    SYS_rt_sigtimedwait,
    SYS_rt_sigqueueinfo,
    SYS_rt_tgsigqueueinfo,
    SYS_sigaltstack,
    SYS_kill,
    SYS_tkill,
    SYS_tgkill,
    SYS_restart_syscall,
    SYS_execve,
    SYS_execveat,
    SYS_exit,
    SYS_exit_group,
    SYS_wait4,
    SYS_waitid,
    SYS_set_tid_address,
    SYS_set_robust_list,
    SYS_get_robust_list,
    SYS_futex,
    SYS_rseq,
    SYS_getpid,
    SYS_getppid,
    SYS_gettid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_getresuid,
    SYS_getresgid,
    SYS_getgroups,
    SYS_getpgid,
    SYS_setpgid,
    SYS_getsid,
    SYS_setsid,
    SYS_getrlimit,
    SYS_setrlimit,
    SYS_getrusage,
    SYS_getpriority,
    SYS_setpriority,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_sched_getscheduler,
    SYS_sched_getparam,
    SYS_sched_get_priority_max,
    SYS_sched_get_priority_min,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_times,
    SYS_getitimer,
    SYS_setitimer,
    SYS_timer_create,
    SYS_timer_settime,
    SYS_timer_gettime,
    SYS_timer_getoverrun,
    SYS_timer_delete,
    SYS_timerfd_create,
    SYS_timerfd_settime,
    SYS_timerfd_gettime,
    SYS_uname,
    SYS_sysinfo,
    SYS_getcpu,
    SYS_getrandom,
    SYS_getcwd,
    SYS_chdir,
    SYS_fchdir,
    SYS_mkdirat,
    SYS_unlinkat,
    SYS_renameat,
    SYS_renameat2,
    SYS_linkat,
    SYS_symlinkat,
    SYS_readlinkat,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_faccessat,
    SYS_faccessat2,
    SYS_utimensat,
    SYS_umask,
    SYS_getdents64,
    SYS_ftruncate,
    SYS_truncate,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_fsync,
    SYS_fdatasync,
    SYS_flock,
    SYS_statfs,
    SYS_fstatfs,
    SYS_dup,
    SYS_dup3,
    SYS_pipe2,
    SYS_fcntl,
    SYS_ppoll,
    SYS_pselect6,
    SYS_epoll_create1,
    SYS_epoll_ctl,
    SYS_epoll_pwait,
    SYS_eventfd2,
    SYS_signalfd4,
    SYS_sendfile,
    SYS_copy_file_range,
    SYS_splice,
    SYS_pidfd_open,
    SYS_pidfd_send_signal,
    SYS_mknodat,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_sendmsg,
    SYS_shutdown,
    SYS_getsockname,
    SYS_getpeername,
    SYS_getsockopt,
    SYS_setsockopt,
#ifdef SYS_epoll_pwait2
    SYS_epoll_pwait2,
#endif
#ifdef __x86_64__
    SYS_open,
    SYS_creat,
    SYS_stat,
    SYS_lstat,
    SYS_access,
    SYS_pipe,
    SYS_select,
    SYS_poll,
    SYS_dup2,
    SYS_fork,
    SYS_vfork,
    SYS_getdents,
    SYS_rename,
    SYS_mkdir,
    SYS_rmdir,
    SYS_link,
    SYS_unlink,
    SYS_symlink,
    SYS_readlink,
    SYS_chmod,
    SYS_chown,
    SYS_lchown,
    SYS_utime,
    SYS_utimes,
    SYS_futimesat,
    SYS_mknod,
    SYS_epoll_create,
    SYS_epoll_wait,
    SYS_eventfd,
    SYS_signalfd,
    SYS_getpgrp,
    SYS_alarm,
    SYS_pause,
    SYS_time,
    SYS_arch_prctl,
#endif
};

// A missing one of these makes libc use an older call that the filter can judge.
constexpr uint32_t kAbsent[] = {SYS_clone3, SYS_memfd_create, SYS_io_uring_setup, SYS_userfaultfd};

// Programs expect file systems without these.
constexpr uint32_t kUnsupported[] = {SYS_getxattr,   SYS_lgetxattr,   SYS_fgetxattr,    SYS_listxattr,
                                     SYS_llistxattr, SYS_flistxattr,  SYS_setxattr,     SYS_lsetxattr,
                                     SYS_fsetxattr,  SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr};

constexpr uint32_t kIoctls[] = {TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIOCLEX, FIONCLEX, TIOCGPGRP};
constexpr uint32_t kPrctls[] = {PR_SET_NAME,      PR_GET_NAME,     PR_GET_DUMPABLE,     PR_SET_PDEATHSIG,
                                PR_GET_PDEATHSIG, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_SET_NO_NEW_PRIVS,
                                PR_GET_SECCOMP,   0x53564d41};

constexpr uint32_t kNewNamespaces =
    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP;

struct Program {
  sock_filter code[1024];
  uint16_t size = 0;

  void add(uint16_t op, uint32_t k, uint8_t yes = 0, uint8_t no = 0) { code[size++] = sock_filter{op, yes, no, k}; }
  void answer(uint32_t action) { add(BPF_RET | BPF_K, action); }
  void deny(int error) { answer(SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)); }
  void allow() { answer(SECCOMP_RET_ALLOW); }
  void load_argument(int index) {  // low half: the arguments judged here are 32 bits wide
    add(BPF_LD | BPF_W | BPF_ABS,
        static_cast<uint32_t>(offsetof(seccomp_data, args)) + 8u * static_cast<uint32_t>(index));
  }
  void when(uint32_t value, uint8_t length) { add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, length); }

  // Call `number` is allowed when argument `index` is one of the values.
  template <size_t n>
  void allow_values(uint32_t number, int index, const uint32_t (&values)[n], int error) {
    when(number, static_cast<uint8_t>(2 + 2 * n));
    load_argument(index);
    for (uint32_t v : values) {
      when(v, 1);
      allow();
    }
    deny(error);
  }

  Program() {
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, kArch, 1, 0);
    answer(SECCOMP_RET_KILL_PROCESS);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
    for (uint32_t number : kAllowed) {
      when(number, 1);
      allow();
    }
    for (uint32_t number : kAbsent) {
      when(number, 1);
      deny(ENOSYS);
    }
    for (uint32_t number : kUnsupported) {
      when(number, 1);
      deny(EOPNOTSUPP);
    }
    allow_values(SYS_ioctl, 1, kIoctls, ENOTTY);
    allow_values(SYS_prctl, 0, kPrctls, EPERM);
    constexpr uint32_t kQuery[] = {0xffffffff};
    allow_values(SYS_personality, 0, kQuery, EPERM);
    constexpr uint32_t kSelf[] = {0};  // init is of the same user: its limits are not the program's to change
    allow_values(SYS_prlimit64, 0, kSelf, EPERM);

    when(SYS_clone, 4);
    load_argument(0);
    add(BPF_JMP | BPF_JSET | BPF_K, kNewNamespaces, 0, 1);
    deny(EPERM);
    allow();

    // A datagram pair could still be pointed at a socket of the host by name; a stream pair cannot.
    when(SYS_socketpair, 7);
    load_argument(0);
    add(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 4);
    load_argument(1);
    add(BPF_ALU | BPF_AND | BPF_K, 0xf);
    add(BPF_JMP | BPF_JEQ | BPF_K, SOCK_STREAM, 0, 1);
    allow();
    deny(EPERM);

    when(SYS_sendto, 6);  // only without an address
    load_argument(4);
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
    add(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8 * 4 + 4);
    add(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
    allow();
    deny(EPERM);

    deny(EPERM);
  }
};

}  // namespace

const sock_fprog& seccomp_program() {
  static Program program;
  static sock_fprog view{program.size, program.code};
  return view;
}

}  // namespace fulmen::sandboxes
