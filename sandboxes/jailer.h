#pragma once
// Start of a slot: the process that owns a prepared root and starts runs in it (jail.h). Its first task is to build
// that root: a tmpfs with the system directories of the profile bound read-only, five devices, a few lines of /etc, and
// nothing else of the host. Its network namespace is empty.

#include <sys/types.h>

#include <string>
#include <vector>

#include "sandboxes/file_descriptor.h"
#include "sandboxes/profile.h"

namespace fulmen::sandboxes {

struct Jailer {
  pid_t pid = -1;
  FileDescriptor pidfd, control;
  FileDescriptor proc;    // its /proc: all processes of the slot. Invalid where the kernel refuses one
  FileDescriptor errors;  // its stderr, not blocking
  bool has_network_namespace = false;
  bool has_proc = false;
};

// The user all programs are outside: nobody when we are root and there is such a user, else we ourselves.
uid_t outer_uid();

// Called once the process exists and before it does anything: put it into its control groups.
using AttachFn = bool (*)(void* cgroup, int pid);

// library: path of libfulmen_jail.so, for a warm interpreter. Throws SandboxError saying which step the kernel refused.
Jailer start_jailer(const Profile& profile, const std::string& library, AttachFn attach, void* cgroup);

// The same for `fulmen-sandbox doctor`: "" when a jail can be made, else what stood in the way.
std::string try_isolation(const Profile& profile, bool& network, bool& proc);

}  // namespace fulmen::sandboxes
