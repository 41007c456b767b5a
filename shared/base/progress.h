#pragma once
// Progress on anything longer than two seconds. On a terminal one line is redrawn (\r) with a bar and an ETA; elsewhere
// a plain line at most every ten seconds. finish() or the destructor ends the line with the time it took, unless what
// comes next says it (kNoEnd). Everything goes to stderr.

#include <chrono>
#include <string>

namespace fulmen::base {

class Progress {
 public:
  enum End { kEndLine, kNoEnd };
  Progress(std::string title, int64_t total, End end = kEndLine);
  ~Progress();
  void update(int64_t done, const std::string& detail = "");  // redraws at most ten times a second
  void finish(const std::string& detail = "");

 private:
  std::string title_;
  int64_t total_, done_ = 0;
  End end_;
  bool tty_, finished_ = false, shown_ = false;
  std::chrono::steady_clock::time_point start_, last_;
};

std::string format_duration(double seconds);  // "8 s", "3 min 20 s", "1 h 05 min"
std::string format_count(double n);           // "950", "12.3 k", "4.1 M"

}  // namespace fulmen::base
