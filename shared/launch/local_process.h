#pragma once
// One child process on this host: a role started by the conductor. It dies with its parent (PDEATHSIG) and with this
// object; its stdout and stderr go to a log file.

#include <string>
#include <vector>

namespace fulmen::launch {

class LocalProcess {
 public:
  // Starts argv[0] (a path) with both outputs appended to log_path. Throws Error naming the program when it cannot
  // start.
  LocalProcess(const std::vector<std::string>& argv, const std::string& log_path);
  ~LocalProcess();  // terminate(2000)
  LocalProcess(const LocalProcess&) = delete;
  LocalProcess& operator=(const LocalProcess&) = delete;

  int pid() const { return pid_; }
  bool running();                 // reaps when it has ended
  std::string exit_text() const;  // "exit code 1", "killed by signal 9"; "running"
  bool refused() const;           // ended with exit code 2: wrong configuration, so starting it again is no use
  void terminate(int grace_ms);   // SIGTERM, then SIGKILL after the grace; returns when it is gone

 private:
  int pid_ = -1;
  int status_ = 0;
  bool ended_ = false;
};

std::string directory_of_this_program();                     // where fulmen-rollout and the others lie
std::string last_lines(const std::string& path, int lines);  // of a log, for error messages; "" when unreadable

}  // namespace fulmen::launch
