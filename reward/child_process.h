#pragma once
// A child process that talks in lines over a socket pair (its stdin and stdout). It leads its own session, has an
// address space limit, and is killed when the thread that started it dies. Used by one thread.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace fulmen::reward {

class ChildProcess {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Result { kLine, kTimeout, kGone };

  ChildProcess() = default;
  ~ChildProcess() { kill(); }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Throws Error when arguments[0] cannot be run.
  void start(const std::vector<std::string>& arguments, uint64_t memory_bytes);
  bool running() const { return pid_ > 0; }
  // Sends `request` and a newline, then reads one line. After kTimeout or kGone call kill().
  Result exchange(const std::string& request, std::string& line, Clock::time_point deadline);
  Result read_line(std::string& line, Clock::time_point deadline);
  // For a child that sends bytes after a line: exactly `count` of them; kLine when they are there.
  Result read_bytes(std::string& bytes, size_t count, Clock::time_point deadline);
  Result write_all(const std::string& bytes, Clock::time_point deadline);
  // For a child that ends when nothing more can come: closes its input and waits until it has cleaned up, then as
  // kill().
  std::string finish(int timeout_ms);
  // The whole group; waits; says how the process ended, "was killed by signal 11" or "exited with 1".
  std::string kill();
  // SIGKILL or SIGTERM had ended the last process before kill() came.
  bool killed() const { return killed_; }

 private:
  Result read_more(Clock::time_point deadline);
  bool wait(short events, Clock::time_point deadline);

  pid_t pid_ = -1;
  int socket_ = -1;
  bool closed_ = false;  // by the other side
  bool killed_ = false;
  std::string pending_;  // read but not yet handed out
};

}  // namespace fulmen::reward
