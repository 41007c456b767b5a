#pragma once
// The inside of the sandbox: what runs between the clone of a jail and the untrusted program. Compiled twice: into
// fulmen-sandbox, and into libfulmen_jail.so, which a warm Python interpreter loads, so that there is one
// implementation of everything that confines. Uses libc only: no exceptions, no allocation, no C++ library.
//
// Processes:  supervisor (fulmen-sandbox, outside) -> jailer (one a slot, pid 1 of its own namespaces, trusted)
//             -> init (one a run, pid 1 of the run's own pid, mount and ipc namespaces) -> the program (pid 2).
// The jailer owns the prepared root; init mounts a fresh /proc and /tmp over it, starts the program, reaps, and
// reports. When init ends, the kernel kills every process of the run, whatever it forked; the jailer tells the
// supervisor only after that. The program holds no descriptor but the first of JailFd, no capability, and a seccomp
// filter.

#include <cstddef>
#include <cstdint>

namespace fulmen::sandboxes {

// Descriptors of a run, in the order they travel; 0..5 are also their numbers in the program.
enum JailFd : int {
  kFdStdin,    // sealed memory file
  kFdStdout,   // pipe
  kFdStderr,   // pipe
  kFdPayload,  // sealed memory file for a warm interpreter: what to run
  kFdResult,   // pipe: values a warm interpreter hands back
  kFdPeer,     // stream socket to the other half of a pair
  kFdProgramEnd,
  kFdStatus = kFdProgramEnd,  // pipe, held by init alone: JailStatus. The program cannot forge it
  kFdFiles,                   // memory file: archive unpacked into /tmp (archive.h)
  kFdFetch,                   // pipe: archive of JailMessage::fetch, packed after the program and its children are dead
  kFdEnd
};

struct JailLimits {
  uint64_t cpu_s = 10;              // RLIMIT_CPU of one process; the supervisor stops the whole run more exactly
  uint64_t address_bytes = 0;       // RLIMIT_AS; 0: none, a cgroup limits memory
  uint64_t file_bytes = 64 << 20;   // RLIMIT_FSIZE
  uint64_t files_bytes = 64 << 20;  // size of /tmp
  uint64_t files_count = 8192;      // inodes of /tmp
  uint64_t stack_bytes = 8 << 20;
  uint32_t processes = 64;  // RLIMIT_NPROC, threads count
  uint32_t open_files = 64;
};

enum class JailOp : uint32_t { kRun = 1, kKill = 2 };

struct JailMessage {  // supervisor -> jailer, one SOCK_SEQPACKET message; the descriptors of fd_mask come with it
  JailOp op;
  uint32_t run;
  uint64_t nonce;  // comes back in JailStatus
  JailLimits limits;
  uint32_t fd_mask;     // bit JailFd: that descriptor is here
  uint32_t argc, envc;  // strings: argv, then the environment; empty argv: the warm interpreter runs its payload
  uint32_t string_bytes;
  char fetch[256];  // path under /tmp, or ""
  char work[256];   // directory to run in when there are no namespaces, else ""
  char strings[6144];
};

struct JailStatus {  // init -> supervisor, when the program has ended
  uint64_t nonce;
  int32_t error;        // errno of a step that failed before the program started, else 0
  char step[28];        // that step
  int32_t wait_status;  // of the program, as wait() has it
  uint32_t pad;
  uint64_t cpu_us;      // of everything init has waited for
  uint64_t max_rss_kb;  // of its largest process
};

struct JailEnded {  // jailer -> supervisor: the run is over and none of its processes is left
  uint32_t run;
  int32_t error;  // errno of a clone that failed, else 0
  uint64_t cpu_us;
  uint64_t max_rss_kb;
};

// Serves `control` until it closes, then ends the process. Returns only inside a program's process, confined, for the
// caller to go on as the program: with argv and environment of the message to execute, or (empty argv) with the payload
// at descriptor 3.
const JailMessage& jail_serve(int control, bool namespaces);

// Drops all capabilities for good, sets no_new_privs, installs the filter. False with errno when a step failed.
bool confine();
void jail_set_limits(const JailLimits& limits);

}  // namespace fulmen::sandboxes

// For ctypes: fulmen_jail_serve(control, namespaces) returns 0 in the program's process.
extern "C" __attribute__((visibility("default"))) int fulmen_jail_serve(int control, int namespaces);
