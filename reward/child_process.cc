#include "reward/child_process.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

constexpr size_t kMaxLine = 16 << 20;  // a longer answer is a fault of the child
constexpr int kEndingMs = 100;         // from a closed socket until the process can be waited for

// Between fork and exec only calls that are safe there.
[[noreturn]] void become(char* const* argv, int socket, int report, pid_t parent, uint64_t memory_bytes) {
  setsid();
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  rlimit memory{memory_bytes, memory_bytes}, core{0, 0};
  setrlimit(RLIMIT_AS, &memory);
  setrlimit(RLIMIT_CORE, &core);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(socket, 0);
  dup2(socket, 1);
  execvp(argv[0], argv);
  int why = errno;
  if (write(report, &why, sizeof why) < 0) _exit(126);
  _exit(127);
}

void close_all(std::initializer_list<int> descriptors) {
  for (int d : descriptors) close(d);
}

}  // namespace

void ChildProcess::start(const std::vector<std::string>& arguments, uint64_t memory_bytes) {
  kill();
  pending_.clear();
  closed_ = killed_ = false;
  int sockets[2], report[2];
  FULMEN_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0,
               std::string("reward: socket pair: ") + strerror(errno));
  if (pipe2(report, O_CLOEXEC) != 0) {
    close_all({sockets[0], sockets[1]});
    throw Error(std::string("reward: pipe: ") + strerror(errno));
  }
  std::vector<char*> argv;
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);

  pid_t parent = getpid(), pid = fork();
  if (pid == 0) become(argv.data(), sockets[1], report[1], parent, memory_bytes);
  int fork_errno = errno;
  close_all({sockets[1], report[1]});
  int why = 0;
  ssize_t got = -1;
  if (pid > 0) {
    do {
      got = read(report[0], &why, sizeof why);  // ends when exec closes the other side
    } while (got < 0 && errno == EINTR);
  }
  close(report[0]);
  if (pid < 0 || got > 0) {
    close(sockets[0]);
    if (pid > 0) waitpid(pid, nullptr, 0);
    throw Error("reward: cannot run " + arguments[0] + ": " + strerror(pid < 0 ? fork_errno : why));
  }
  pid_ = pid;
  socket_ = sockets[0];
}

bool ChildProcess::wait(short events, Clock::time_point deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd p{socket_, events, 0};
    int n = poll(&p, 1, static_cast<int>(std::min<int64_t>(left, 1 << 30)));
    if (n > 0) return true;
    FULMEN_CHECK(n == 0 || errno == EINTR, std::string("reward: poll: ") + strerror(errno));
  }
}

ChildProcess::Result ChildProcess::write_all(const std::string& bytes, Clock::time_point deadline) {
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = send(socket_, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      done += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait(POLLOUT, deadline)) return Result::kTimeout;
    } else if (errno != EINTR) {
      closed_ = true;
      return Result::kGone;
    }
  }
  return Result::kLine;
}

// kLine when something came.
ChildProcess::Result ChildProcess::read_more(Clock::time_point deadline) {
  if (!wait(POLLIN, deadline)) return Result::kTimeout;
  char buffer[1 << 16];
  ssize_t n = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
  if (n > 0) pending_.append(buffer, static_cast<size_t>(n));
  if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN))) return Result::kLine;
  closed_ = true;
  return Result::kGone;
}

ChildProcess::Result ChildProcess::read_line(std::string& line, Clock::time_point deadline) {
  for (size_t searched = 0;;) {
    size_t end = pending_.find('\n', searched);
    if (end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return Result::kLine;
    }
    searched = pending_.size();
    if (searched > kMaxLine) return Result::kGone;
    if (Result r = read_more(deadline); r != Result::kLine) return r;
  }
}

ChildProcess::Result ChildProcess::read_bytes(std::string& bytes, size_t count, Clock::time_point deadline) {
  while (pending_.size() < count) {
    if (Result r = read_more(deadline); r != Result::kLine) return r;
  }
  bytes = pending_.substr(0, count);
  pending_.erase(0, count);
  return Result::kLine;
}

ChildProcess::Result ChildProcess::exchange(const std::string& request, std::string& line, Clock::time_point deadline) {
  Result r = write_all(request + "\n", deadline);
  return r == Result::kLine ? read_line(line, deadline) : r;
}

std::string ChildProcess::finish(int timeout_ms) {
  if (pid_ <= 0) return "not running";
  shutdown(socket_, SHUT_WR);
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  while (read_more(deadline) == Result::kLine) pending_.clear();  // until it closes its side
  return kill();
}

std::string ChildProcess::kill() {
  if (pid_ <= 0) return "not running";
  close(socket_);
  int status = 0;
  // One that is ending keeps its own status; its socket closes a moment before that can be read. Whatever else is in
  // its group goes too.
  bool dead = waitpid(pid_, &status, WNOHANG) == pid_;
  for (int ms = 0; closed_ && !dead && ms < kEndingMs; ++ms) {
    poll(nullptr, 0, 1);
    dead = waitpid(pid_, &status, WNOHANG) == pid_;
  }
  killed_ = dead && WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
  ::kill(-pid_, SIGKILL);
  if (!dead) {
    ::kill(pid_, SIGKILL);
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
  }
  pid_ = -1;
  socket_ = -1;
  return WIFSIGNALED(status) ? fmt::format("was killed by signal {}", WTERMSIG(status))
                             : fmt::format("exited with {}", WEXITSTATUS(status));
}

}  // namespace fulmen::reward
