#include "shared/launch/local_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <thread>

#include "kernels/error.h"

namespace fulmen::launch {

LocalProcess::LocalProcess(const std::vector<std::string>& argv, const std::string& log_path) {
  FULMEN_CHECK(access(argv[0].c_str(), X_OK) == 0, "cannot start " + argv[0] + ": " + std::strerror(errno));
  const int log = open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  FULMEN_CHECK(log >= 0, "cannot open log " + log_path + ": " + std::strerror(errno));
  std::vector<char*> args;
  for (const std::string& a : argv) args.push_back(const_cast<char*>(a.c_str()));
  args.push_back(nullptr);
  const pid_t parent = getpid();
  pid_ = fork();
  FULMEN_CHECK(pid_ >= 0, std::string("fork: ") + std::strerror(errno));
  if (pid_ == 0) {  // only async-signal-safe calls from here
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    setpgid(0, 0);  // Ctrl-C reaches the conductor, which stops its workers in order
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    execv(args[0], args.data());
    _exit(127);
  }
  close(log);
}

LocalProcess::~LocalProcess() { terminate(2000); }

bool LocalProcess::running() {
  if (ended_) return false;
  const pid_t r = waitpid(pid_, &status_, WNOHANG);
  if (r == pid_ || (r < 0 && errno == ECHILD)) ended_ = true;
  return !ended_;
}

std::string LocalProcess::exit_text() const {
  if (!ended_) return "running";
  if (WIFSIGNALED(status_)) return "killed by signal " + std::to_string(WTERMSIG(status_));
  return "exit code " + std::to_string(WEXITSTATUS(status_));
}

bool LocalProcess::refused() const { return ended_ && WIFEXITED(status_) && WEXITSTATUS(status_) == 2; }

void LocalProcess::terminate(int grace_ms) {
  if (pid_ < 0 || !running()) return;
  kill(pid_, SIGTERM);
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(grace_ms);
  while (running()) {
    if (std::chrono::steady_clock::now() > end) kill(-pid_, SIGKILL), kill(pid_, SIGKILL);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::string directory_of_this_program() { return std::filesystem::read_symlink("/proc/self/exe").parent_path(); }

std::string last_lines(const std::string& path, int lines) {
  std::ifstream in(path);
  std::deque<std::string> tail;
  for (std::string line; std::getline(in, line);) {
    tail.push_back(line);
    if (static_cast<int>(tail.size()) > lines) tail.pop_front();
  }
  std::string text;
  for (const std::string& line : tail) text += "  | " + line + "\n";
  return text;
}

}  // namespace fulmen::launch
