#include "watched_cases.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <thread>

namespace fulmen::gpu {
namespace {

using Clock = std::chrono::steady_clock;

const char* const kEnds[] = {"passed", "failed", "broken", "left_out"};

void say(int to, const std::string& line) {
  const std::string text = line + "\n";
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(to, text.data() + at, text.size() - at);
    if (n <= 0) _exit(1);  // nobody listens any more
    at += static_cast<size_t>(n);
  }
}

// The child's life: what it does it says, line by line.
[[noreturn]] void live(std::span<const size_t> numbers, const Watch& watch, int to) {
  say(to, "prepared " + watch.prepare());
  for (const size_t number : numbers) {
    say(to, "begin " + std::to_string(number));
    const auto begin = Clock::now();
    const End end = watch.run(number);
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    say(to, std::string("end ") + kEnds[static_cast<int>(end)] + " " + std::to_string(seconds));
    if (end == End::kBroken) break;
  }
  std::fflush(nullptr);
  _exit(0);  // destructors of statics would touch shared memory after the driver has gone
}

class Child {
 public:
  Child(std::span<const size_t> numbers, const Watch& watch) {
    int ends[2];
    std::fflush(nullptr);
    if (pipe(ends) != 0) throw std::runtime_error("pipe: no more file descriptors");
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork: no more processes");
    if (pid_ == 0) {
      close(ends[0]);
      live(numbers, watch, ends[1]);
    }
    close(ends[1]);
    from_ = ends[0];
  }
  ~Child() {
    close(from_);
    if (!reaped_) kill(pid_, SIGKILL), reap(5);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // The next line; false when none came in time or the child has ended.
  bool line(double seconds, std::string& text) {
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    for (;;) {
      const size_t at = buffer_.find('\n');
      if (at != std::string::npos) {
        text = buffer_.substr(0, at);
        buffer_.erase(0, at + 1);
        return true;
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
      pollfd p{from_, POLLIN, 0};
      if (left <= 0 || poll(&p, 1, static_cast<int>(left)) < 0) return false;
      char some[4096];
      const ssize_t n = p.revents != 0 ? read(from_, some, sizeof some) : -1;
      if (n == 0) return false;
      if (n > 0) buffer_.append(some, static_cast<size_t>(n));
    }
  }

  // Why no line came: it is still there and is ended now, or has ended.
  std::string why(double waited) {
    if (reap(0.2))
      return WIFSIGNALED(status_) ? "ended by signal " + std::to_string(WTERMSIG(status_))
                                  : "ended by exit " + std::to_string(exit_code());
    kill(pid_, SIGKILL);
    char text[64];
    std::snprintf(text, sizeof text, "hung for %.0f s%s", waited, reap(10) ? "" : " and cannot be killed");
    return text;
  }
  int exit_code() const { return reaped_ && WIFEXITED(status_) ? WEXITSTATUS(status_) : 1; }
  bool reap(double seconds) {
    const auto end = Clock::now() + std::chrono::duration<double>(seconds);
    while (!reaped_) {
      reaped_ = waitpid(pid_, &status_, WNOHANG) == pid_;
      if (Clock::now() >= end) break;
      if (!reaped_) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return reaped_;
  }

 private:
  pid_t pid_ = -1;
  int from_ = -1, status_ = 0;
  bool reaped_ = false;
  std::string buffer_;
};

CaseResult result_of(size_t number, const std::string& line) {
  CaseResult r{number, End::kFailed, 0, ""};
  char end[16] = {};
  if (std::sscanf(line.c_str(), "end %15s %lf", end, &r.seconds) == 2)
    for (int i = 0; i < 4; ++i)
      if (std::string(end) == kEnds[i]) r.end = static_cast<End>(i);
  return r;
}

}  // namespace

int run_watched(std::span<const size_t> numbers, const Watch& watch) {
  bool first = true;
  for (size_t next = 0; next < numbers.size();) {
    Child child(numbers.subspan(next), watch);
    std::string line;
    if (!child.line(watch.seconds_each, line)) {
      std::fprintf(stderr, "%s before the first case\n", child.why(watch.seconds_each).c_str());
      return child.exit_code() == 0 ? 1 : child.exit_code();
    }
    if (first) watch.prepared(line.substr(line.find(' ') + 1));
    first = false;
    for (bool lives = true; lives && next < numbers.size(); ++next) {
      const auto begin = Clock::now();
      if (child.line(watch.seconds_each, line) && child.line(watch.seconds_each, line)) {  // begin, end
        watch.done(result_of(numbers[next], line));
        lives = line.find("end broken") != 0;
        continue;
      }
      const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      watch.done({numbers[next], End::kBroken, seconds, child.why(watch.seconds_each)});
      lives = false;
    }
  }
  return 0;
}

}  // namespace fulmen::gpu
