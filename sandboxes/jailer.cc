#include "sandboxes/jailer.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>

#include "sandboxes/builtin.h"
#include "sandboxes/error.h"
#include "sandboxes/jail.h"

namespace fulmen::sandboxes {
namespace {

constexpr uid_t kInnerId = 1000;
constexpr uid_t kNobody = 65534;
constexpr int kLibraryFd = 10, kControlFd = 11, kReportFd = 12;

struct Report {  // jailer -> supervisor, once
  int32_t error = 0;
  char step[200] = {};
  bool proc = false;
};

struct Spec {
  const Profile* profile;
  bool root;  // we are, and may become another user
  int control, library, go, report, errors;
};

struct Failed {
  std::string step;
  int error;
};

void want(bool good, const std::string& step) {
  if (!good) throw Failed{step, errno};
}

void write_small_file(const std::string& path, const std::string& text) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  want(fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write " + path);
  close(fd);
}

void make_directories(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    mkdir(path.substr(0, slash).c_str(), 0755);
    if (slash == std::string::npos) return;
  }
}

struct Bind {
  std::string path;
  int tree;
  bool directory;
};

// A detached copy of the mount, taken while the host's tree is still in sight.
void take(std::vector<Bind>& binds, const std::string& path, bool needed) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) {
    want(!needed, "find " + path + ", which the profile lists under read_only");
    return;
  }
  int tree = open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
  want(tree >= 0, "open_tree " + path);
  binds.push_back({path, tree, S_ISDIR(s.st_mode)});
}

bool is_link(const std::string& path, std::string& target) {
  char text[512];
  ssize_t n = readlink(path.c_str(), text, sizeof text);
  if (n <= 0) return false;
  target.assign(text, static_cast<size_t>(n));
  return true;
}

void copy_library(int from) {
  int to = open("etc/libfulmen_jail.so", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
  char buffer[1 << 16];
  ssize_t n = 0;
  while (to >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
    want(write(to, buffer, static_cast<size_t>(n)) == n, "copy");
  want(to >= 0 && n == 0, "copy libfulmen_jail.so");
  close(to);
}

// Returns whether /proc is there.
bool build_root(const Profile& profile) {
  want(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0, "make mounts private");
  std::vector<Bind> read_only, devices;
  std::vector<std::pair<std::string, std::string>> links;
  for (const std::string& d : profile.read_only) take(read_only, d, true);
  for (const char* d : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::string target;
    if (is_link(d, target)) {
      links.emplace_back(d, target);
    } else {
      take(read_only, d, false);
    }
  }
  for (const char* f : {"/etc/ld.so.cache", "/etc/alternatives"}) take(read_only, f, false);
  for (const char* d : {"null", "zero", "full", "random", "urandom"}) take(devices, std::string("/dev/") + d, false);

  const std::string root = "/tmp";  // stands on every machine; hidden from here on
  want(mount("tmpfs", root.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=4m") == 0, "mount a tmpfs");
  want(chdir(root.c_str()) == 0, "chdir to the new root");
  for (const char* d : {"proc", "tmp", "dev", "etc", "old"}) want(mkdir(d, 0755) == 0, "mkdir");
  auto put = [](const Bind& b, uint64_t attributes) {
    const std::string to = "." + b.path;
    if (b.directory) {
      make_directories(to);
    } else {
      make_directories(to.substr(0, to.rfind('/')));
      close(open(to.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    }
    want(move_mount(b.tree, "", AT_FDCWD, to.c_str(), MOVE_MOUNT_F_EMPTY_PATH) == 0, "bind " + b.path);
    close(b.tree);
    mount_attr attr{};
    attr.attr_set = attributes;
    want(mount_setattr(AT_FDCWD, to.c_str(), AT_RECURSIVE, &attr, sizeof attr) == 0, "make read-only " + b.path);
  };
  for (const Bind& b : read_only) put(b, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  for (const Bind& b : devices) put(b, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  for (const auto& [from, to] : links) want(symlink(to.c_str(), ("." + from).c_str()) == 0, "link " + from);
  want(symlink("/proc/self/fd", "dev/fd") == 0 && symlink("/proc/self/fd/0", "dev/stdin") == 0 &&
           symlink("/proc/self/fd/1", "dev/stdout") == 0 && symlink("/proc/self/fd/2", "dev/stderr") == 0 &&
           symlink("/tmp", "dev/shm") == 0,
       "links in /dev");
  write_small_file("etc/passwd", "user:x:1000:1000:user:/tmp:/bin/sh\n");
  write_small_file("etc/group", "user:x:1000:\n");
  if (!profile.warm.empty()) copy_library(kLibraryFd);

  const bool proc = mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) == 0;
  want(proc || errno == EPERM, "mount /proc");
  want(syscall(SYS_pivot_root, ".", "old") == 0, "pivot_root");
  want(umount2("/old", MNT_DETACH) == 0, "unmount the old root");
  want(chdir("/") == 0 && rmdir("/old") == 0, "leave the old root");
  want(mount(nullptr, "/", nullptr, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, nullptr) == 0,
       "make the root read-only");
  return proc;
}

void become_inner_user(bool root, bool isolated) {
  const uid_t id = isolated ? kInnerId : kNobody;
  // Refused where only our own user could be mapped (root of a user namespace); those groups then stay.
  if (root && setgroups(0, nullptr) != 0) errno = 0;
  prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
  const bool changed = (root || isolated) && setresgid(id, id, id) == 0 && setresuid(id, id, id) == 0;
  want(changed || !isolated, "become the user of the jail");  // without isolation there may be no other user to become
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // Changing user made our own /proc entries root's.
  prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

// What a warm interpreter keeps over its exec: the right to make the namespaces of a run.
void keep_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  constexpr uint32_t kBits = 1u << CAP_SYS_ADMIN | 1u << CAP_SETPCAP | 1u << CAP_KILL;
  __user_cap_data_struct data[2] = {{kBits, kBits, kBits}, {0, 0, 0}};
  want(syscall(SYS_capset, &header, data) == 0, "capset");
  for (int c : {CAP_SYS_ADMIN, CAP_SETPCAP, CAP_KILL}) {
    want(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) == 0, "keep a capability");
  }
}

void send_report(int fd, const Report& r, int proc) {
  iovec io{const_cast<Report*>(&r), sizeof r};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))] = {};
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  if (proc >= 0) {
    h.msg_control = space;
    h.msg_controllen = sizeof space;
    cmsghdr* c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    *reinterpret_cast<int*>(CMSG_DATA(c)) = proc;
  }
  if (sendmsg(fd, &h, MSG_NOSIGNAL) < 0) _exit(1);
}

// Our descriptors to 0..2 and kLibraryFd..kReportFd, and no others: a client's socket held open here would outlive it.
void place_descriptors(const Spec& s) {
  auto high = [](int fd) { return fd < 0 ? fd : fcntl(fd, F_DUPFD, 40); };
  const int null = high(open("/dev/null", O_RDWR)), errors = high(s.errors), library = high(s.library);
  const int control = high(s.control), report = high(s.report);
  dup2(null, 0);
  dup2(null, 1);
  dup2(errors, 2);
  if (library >= 0) dup2(library, kLibraryFd);
  dup2(control, kControlFd);
  dup2(report, kReportFd);
  for (int fd = 3; fd < kLibraryFd; fd++) close(fd);
  if (library < 0) close(kLibraryFd);
  close_range(kReportFd + 1, ~0u, 0);
}

[[noreturn]] void execute_warm(const Profile& p) {
  std::string preload;
  for (const std::string& m : p.preload) preload += (preload.empty() ? "" : ",") + m;
  const std::string library = p.isolated ? "/etc/libfulmen_jail.so" : "/proc/self/fd/" + std::to_string(kLibraryFd);
  const std::string control = std::to_string(kControlFd);
  const std::string isolated = p.isolated ? "1" : "0";
  const char* argv[] = {
      p.warm.c_str(),  "-I",   "-S", "-c", warm_python_source(), library.c_str(), control.c_str(), isolated.c_str(),
      preload.c_str(), nullptr};
  std::vector<std::string> words{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "PYTHONHASHSEED=0"};
  for (const auto& [k, v] : p.environment) words.push_back(k + "=" + v);
  std::vector<char*> environment;
  for (std::string& w : words) environment.push_back(w.data());
  environment.push_back(nullptr);
  execve(argv[0], const_cast<char* const*>(argv), environment.data());
  const std::string why = "cannot run " + p.warm + ": " + std::strerror(errno) + "\n";
  if (write(2, why.data(), why.size()) < 0) _exit(126);
  _exit(127);
}

[[noreturn]] void run_jailer(const Spec& s) {
  Report r;
  int report = s.report;
  try {
    char go;
    want(read(s.go, &go, 1) == 1, "wait for the supervisor");
    place_descriptors(s);
    report = kReportFd;
    for (int n = 1; n < 32; n++) signal(n, n == SIGINT || n == SIGPIPE || n == SIGHUP ? SIG_IGN : SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    setsid();
    umask(022);
    become_inner_user(s.root, s.profile->isolated);
    if (s.profile->isolated) {
      want(sethostname("sandbox", 7) == 0, "sethostname");
      r.proc = build_root(*s.profile);
    }
    // The stack may grow as far as the gap left when an interpreter starts.
    rlimit stack{};
    getrlimit(RLIMIT_STACK, &stack);
    stack.rlim_cur = stack.rlim_max;
    if (stack.rlim_cur == RLIM_INFINITY) stack.rlim_cur = rlim_t{512} << 20;
    setrlimit(RLIMIT_STACK, &stack);
    if (!s.profile->warm.empty() && s.profile->isolated) keep_capabilities();
    int proc = r.proc || !s.profile->isolated ? open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    send_report(report, r, r.proc ? proc : -1);
    if (proc >= 0) close(proc);
    close(report);
  } catch (const Failed& f) {
    r.error = f.error;
    f.step.copy(r.step, sizeof r.step - 1);
    send_report(report, r, -1);
    _exit(1);
  }
  if (!s.profile->warm.empty()) execute_warm(*s.profile);
  jail_serve(kControlFd, s.profile->isolated);  // returns only where the program was executed instead
  _exit(127);
}

bool write_map(pid_t pid, const char* name, const std::string& text) {
  const std::string path = "/proc/" + std::to_string(pid) + "/" + name;
  int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool good = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  close(fd);
  return good;
}

void map_user(pid_t pid, bool root) {
  const std::string inner = std::to_string(kInnerId) + " ";
  if (root && write_map(pid, "gid_map", inner + std::to_string(kNobody) + " 1") &&
      write_map(pid, "uid_map", inner + std::to_string(kNobody) + " 1")) {
    return;
  }
  write_map(pid, "setgroups", "deny");
  if (!write_map(pid, "gid_map", inner + std::to_string(getegid()) + " 1") ||
      !write_map(pid, "uid_map", inner + std::to_string(geteuid()) + " 1")) {
    throw_errno("cannot map a user into the new user namespace");
  }
}

Report receive_report(int fd, FileDescriptor& proc) {
  Report r;
  iovec io{&r, sizeof r};
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int))];
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  h.msg_control = space;
  h.msg_controllen = sizeof space;
  pollfd p{fd, POLLIN, 0};
  if (poll(&p, 1, 30000) <= 0) throw SandboxError("a jailer said nothing for 30 s");
  if (recvmsg(fd, &h, MSG_CMSG_CLOEXEC) != sizeof r) throw SandboxError("a jailer ended before it was ready");
  if (cmsghdr* c = CMSG_FIRSTHDR(&h)) proc = FileDescriptor(*reinterpret_cast<int*>(CMSG_DATA(c)));
  return r;
}

}  // namespace

uid_t outer_uid() {
  static const bool nobody_is_mapped = [] {
    std::ifstream map("/proc/self/uid_map");  // of a user namespace we may be root of
    for (uint64_t inside, outside, count; map >> inside >> outside >> count;) {
      if (kNobody >= inside && kNobody < inside + count) return true;
    }
    return false;
  }();
  return geteuid() == 0 && nobody_is_mapped ? kNobody : geteuid();
}

Jailer start_jailer(const Profile& profile, const std::string& library, AttachFn attach, void* cgroup) {
  Jailer jailer;
  FileDescriptor lib;
  if (!profile.warm.empty()) {
    lib = FileDescriptor(open(library.c_str(), O_RDONLY | O_CLOEXEC));
    if (!lib.valid()) throw_errno("cannot open " + library);
  }
  int control[2], report[2], go[2], errors[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0) throw_errno("socketpair");
  jailer.control = FileDescriptor(control[0]);
  FileDescriptor control_inner(control[1]);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, report) != 0) throw_errno("socketpair");
  FileDescriptor report_outer(report[0]), report_inner(report[1]);
  if (pipe2(go, O_CLOEXEC) != 0) throw_errno("pipe");
  FileDescriptor go_read(go[0]), go_write(go[1]);
  if (pipe2(errors, O_CLOEXEC | O_NONBLOCK) != 0) throw_errno("pipe");
  jailer.errors = FileDescriptor(errors[0]);
  FileDescriptor errors_inner(errors[1]);

  const bool root = outer_uid() != geteuid();
  const Spec spec{&profile, root, control[1], lib.get(), go[0], report[1], errors[1]};
  unsigned long flags = SIGCHLD;
  if (profile.isolated)
    flags |= CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET;
  jailer.has_network_namespace = profile.isolated;
  long pid = syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr);
  if (pid < 0 && profile.isolated) {  // the filter forbids sockets anyway
    jailer.has_network_namespace = false;
    pid = syscall(SYS_clone, flags & ~static_cast<unsigned long>(CLONE_NEWNET), nullptr, nullptr, nullptr, nullptr);
  }
  if (pid == 0) run_jailer(spec);
  if (pid < 0) throw_errno("the kernel refuses user, pid, mount, ipc and uts namespaces");
  jailer.pid = static_cast<pid_t>(pid);
  jailer.pidfd = FileDescriptor(static_cast<int>(syscall(SYS_pidfd_open, jailer.pid, 0)));
  report_inner.reset();
  go_read.reset();
  try {
    if (profile.isolated) map_user(jailer.pid, root);
    if (attach && !attach(cgroup, jailer.pid)) throw_errno("cannot move a process into its control group");
    if (write(go_write.get(), "g", 1) != 1) throw_errno("start of a jailer");
    const Report r = receive_report(report_outer.get(), jailer.proc);
    if (r.error != 0) throw SandboxError(std::string(r.step) + ": " + std::strerror(r.error));
    jailer.has_proc = r.proc;
  } catch (const SandboxError& e) {
    kill(jailer.pid, SIGKILL);
    waitpid(jailer.pid, nullptr, 0);
    throw SandboxError(std::string("cannot make a jail: ") + e.what());
  }
  return jailer;
}

std::string try_isolation(const Profile& profile, bool& network, bool& proc) {
  Profile cold = profile;
  cold.warm.clear();
  try {
    Jailer jailer = start_jailer(cold, "", nullptr, nullptr);
    network = jailer.has_network_namespace;
    proc = jailer.has_proc;
    kill(jailer.pid, SIGKILL);
    waitpid(jailer.pid, nullptr, 0);
    return "";
  } catch (const SandboxError& e) {
    return e.what();
  }
}

}  // namespace fulmen::sandboxes
