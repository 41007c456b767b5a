#include "sandboxes/slot.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>

#include "sandboxes/archive.h"
#include "sandboxes/error.h"
#include "sandboxes/jail.h"
#include "sandboxes/process_scan.h"
#include "sandboxes/watch.h"

namespace fulmen::sandboxes {
namespace {

FileDescriptor sealed_file(const char* name, const std::string& content) {
  FileDescriptor f(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!f.valid()) throw_errno("memfd_create");
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = write(f.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno != EINTR) throw_errno("write to a memory file");
    if (n > 0) done += static_cast<size_t>(n);
  }
  lseek(f.get(), 0, SEEK_SET);
  fcntl(f.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return f;
}

std::string pack(const std::vector<InputFile>& files) {
  std::string bytes;
  for (const InputFile& f : files) {
    const ArchiveEntry e{static_cast<uint32_t>(f.path.size()), f.executable ? 0755u : 0644u, f.content.size()};
    bytes.append(reinterpret_cast<const char*>(&e), sizeof e);
    bytes += f.path;
    bytes += f.content;
  }
  return bytes;
}

void make_pipe(FileDescriptor& ours, FileDescriptor& theirs) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw_errno("pipe");
  ours = FileDescriptor(ends[0]);
  theirs = FileDescriptor(ends[1]);
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  // So that a program of another user may open /dev/stdout.
  if (outer_uid() != geteuid() && fchown(ends[1], outer_uid(), static_cast<gid_t>(-1)) != 0)
    throw_errno("fchown of a pipe");
}

void fill_strings(JailMessage& m, const Profile& profile, const RunRequest& request) {
  std::string strings;
  for (std::string word : request.argv) {
    if (m.work[0] && word.rfind("/tmp/", 0) == 0) word = m.work + word.substr(4);
    strings += word + '\0';
  }
  m.argc = static_cast<uint32_t>(request.argv.size());
  const std::string home = m.work[0] ? m.work : "/tmp";
  std::vector<std::string> environment{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + home, "TMPDIR=" + home};
  for (const auto& [k, v] : profile.environment) environment.push_back(k + "=" + v);
  for (const std::string& e : environment) strings += e + '\0';
  m.envc = static_cast<uint32_t>(environment.size());
  if (strings.size() > sizeof m.strings) throw SandboxError("arguments and environment take more than 6 KiB");
  m.string_bytes = static_cast<uint32_t>(strings.size());
  strings.copy(m.strings, sizeof m.strings);
}

void send_message(int control, JailMessage& m, const FileDescriptor* fds) {
  alignas(cmsghdr) char space[CMSG_SPACE(sizeof(int) * kFdEnd)] = {};
  int list[kFdEnd], count = 0;
  for (int i = 0; fds && i < kFdEnd; i++) {
    if (!fds[i].valid()) continue;
    m.fd_mask |= 1u << i;
    list[count++] = fds[i].get();
  }
  iovec io{&m, sizeof m};
  msghdr h{};
  h.msg_iov = &io;
  h.msg_iovlen = 1;
  if (count > 0) {
    h.msg_control = space;
    h.msg_controllen = CMSG_SPACE(sizeof(int) * static_cast<size_t>(count));
    cmsghdr* c = CMSG_FIRSTHDR(&h);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * static_cast<size_t>(count));
    std::copy(list, list + count, reinterpret_cast<int*>(CMSG_DATA(c)));
  }
  ssize_t n;
  do {
    n = sendmsg(control, &h, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n != sizeof m) throw_errno("the jailer does not listen");
}

JailLimits jail_limits(const Limits& l, bool cgroup_memory, bool pair) {
  JailLimits j;
  // Only a second line: the supervisor counts the CPU time of all processes together, and more finely.
  j.cpu_s = static_cast<uint64_t>(l.cpu_s) + 2;
  j.address_bytes = cgroup_memory ? 0 : (l.memory_mb + 64) << 20;
  j.file_bytes = std::max(l.output_mb, l.files_mb) << 20;
  j.files_bytes = l.files_mb << 20;
  j.files_count = 16 * l.files_mb + 1024;
  j.stack_bytes = l.stack_mb << 20;
  j.processes = l.processes + (pair ? 5u : 3u);  // jailer and init are of the same user
  j.open_files = l.open_files;
  return j;
}

// A directory for a run without namespaces, gone with its content afterwards.
class WorkDirectory {
 public:
  explicit WorkDirectory(bool wanted) {
    if (!wanted) return;
    const char* base = getenv("TMPDIR");
    path_ = std::string(base && *base ? base : "/tmp") + "/fulmen-run-XXXXXX";
    if (!mkdtemp(path_.data())) throw_errno("cannot make " + path_);
    if (outer_uid() != geteuid() && chown(path_.c_str(), outer_uid(), outer_uid()) != 0) throw_errno("chown " + path_);
  }
  ~WorkDirectory() {
    std::error_code code;
    if (!path_.empty()) std::filesystem::remove_all(path_, code);
  }
  WorkDirectory(const WorkDirectory&) = delete;
  WorkDirectory& operator=(const WorkDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

const char* outcome_name(Outcome o) {
  constexpr const char* kNames[] = {"OK", "RE", "TLE", "MLE", "OLE", "SE"};
  return kNames[static_cast<int>(o)];
}

Slot::Slot(const Profile& profile, const SlotOptions& options) : profile_(profile), options_(options) {
  static std::atomic<int> counter{0};
  name_ = std::to_string(counter++);
  places_ = find_cgroups(options.cgroup);
}

Slot::~Slot() { stop(); }

void Slot::start() {
  if (jailer_.pid > 0) return;
  if (!cgroup_) cgroup_ = std::make_unique<Cgroup>(places_, name_);
  auto attach = [](void* cgroup, int pid) { return static_cast<Cgroup*>(cgroup)->attach(pid); };
  jailer_ = start_jailer(profile_, options_.library, attach, cgroup_.get());
}

void Slot::stop() {
  if (jailer_.pid > 0) {
    kill(jailer_.pid, SIGKILL);
    if (cgroup_) cgroup_->kill_all();
    waitpid(jailer_.pid, nullptr, 0);  // with namespaces: returns when every process of the slot is gone
  }
  jailer_ = Jailer{};
}

std::string Slot::jailer_errors() {
  char text[4096];
  const ssize_t n = jailer_.errors.valid() ? read(jailer_.errors.get(), text, sizeof text) : 0;
  std::string all(text, n > 0 ? static_cast<size_t>(n) : 0);
  while (!all.empty() && all.back() == '\n') all.pop_back();
  return all.substr(all.rfind('\n') + 1);
}

RunResult Slot::run(const RunRequest& request, const Limits& limits) { return run_all({&request}, limits)[0]; }

std::pair<RunResult, RunResult> Slot::run_pair(const RunRequest& first, const RunRequest& second,
                                               const Limits& limits) {
  auto results = run_all({&first, &second}, limits);
  return {std::move(results[0]), std::move(results[1])};
}

std::vector<RunResult> Slot::run_all(const std::vector<const RunRequest*>& requests, const Limits& limits) {
  std::vector<RunResult> results(requests.size());
  uint64_t oom_kills = 0;
  try {
    start();
    oom_kills = cgroup_->out_of_memory_kills();
    const bool pair = requests.size() == 2;
    cgroup_->set_limits((limits.memory_mb + (pair ? 64 : 16)) << 20, limits.processes + (pair ? 5u : 3u));
    WorkDirectory work(!profile_.isolated);
    FileDescriptor peers[2];
    if (pair) {
      int ends[2];
      if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw_errno("socketpair");
      for (int i = 0; i < 2; i++) peers[i] = FileDescriptor(ends[i]);
    }
    Watch watch(jailer_, *cgroup_, limits);
    // The last first: of a pair the second must be there before the first can use up what they share.
    for (size_t i = requests.size(); i-- > 0;) {
      const RunRequest& r = *requests[i];
      JailMessage m{};
      m.op = JailOp::kRun;
      m.run = next_run_++;
      if (getrandom(&m.nonce, sizeof m.nonce, 0) != sizeof m.nonce) throw_errno("getrandom");
      m.limits = jail_limits(limits, cgroup_->limits_memory(), pair);
      if (r.fetch.size() >= sizeof m.fetch || work.path().size() >= sizeof m.work) throw SandboxError("path too long");
      r.fetch.copy(m.fetch, sizeof m.fetch - 1);
      work.path().copy(m.work, sizeof m.work - 1);
      fill_strings(m, profile_, r);
      FileDescriptor theirs[kFdEnd];
      Watch::Pipes ours;
      theirs[kFdStdin] = sealed_file("input", r.input);
      make_pipe(ours.out, theirs[kFdStdout]);
      make_pipe(ours.err, theirs[kFdStderr]);
      make_pipe(ours.status, theirs[kFdStatus]);
      if (r.argv.empty()) {
        theirs[kFdPayload] = sealed_file("payload", r.payload);
        make_pipe(ours.result, theirs[kFdResult]);
      }
      if (pair) theirs[kFdPeer] = std::move(peers[i]);
      if (!r.files.empty()) theirs[kFdFiles] = sealed_file("files", pack(r.files));
      if (!r.fetch.empty()) make_pipe(ours.fetch, theirs[kFdFetch]);
      send_message(jailer_.control.get(), m, theirs);
      watch.add(m.run, m.nonce, std::move(ours));
    }
    results = watch.finish();
    if (!watch.slot_is_good()) stop();
  } catch (const SandboxError& e) {
    const std::string said = jailer_errors();
    // Memory used up to the point where even the jailer was taken is the program's doing.
    const bool memory = jailer_.pid > 0 && cgroup_->out_of_memory_kills() > oom_kills;
    for (RunResult& r : results) {
      r.outcome = memory ? Outcome::kMemoryLimit : Outcome::kSandboxError;
      r.reason = e.what() + (said.empty() ? "" : " (" + said + ")");
    }
    stop();
  }
  return results;
}

}  // namespace fulmen::sandboxes
