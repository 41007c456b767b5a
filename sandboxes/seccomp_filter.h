#pragma once
// The system calls a program may make. Everything else answers EPERM (ENOSYS where libc then tries an older call).
// Left out with intent: sockets other than an unnamed AF_UNIX stream pair, anything that makes or enters a namespace,
// mounts, ptrace and reads of another process' memory, keys, bpf, perf, io_uring, userfaultfd, modules, clocks, and
// memory that belongs to no process (memfd_create, System V shared memory, message queues).

struct sock_fprog;

namespace fulmen::sandboxes {

// The BPF program, built once; the pointer stays valid.
const sock_fprog& seccomp_program();

}  // namespace fulmen::sandboxes
