#include "sandboxes/watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "sandboxes/archive.h"
#include "sandboxes/error.h"
#include "sandboxes/process_scan.h"

namespace fulmen::sandboxes {
namespace {

constexpr uint64_t kKeepErrors = 64 << 10;
constexpr uint64_t kKeepResult = 64 << 20;
constexpr int kKillGraceMs = 2000;  // for the jailer to do it; then the slot goes as a whole

double seconds(std::chrono::steady_clock::duration d) { return std::chrono::duration<double>(d).count(); }

std::string with_unit(double value, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g %s", value, unit);
  return text;
}

std::vector<InputFile> unpack(const std::string& bytes) {
  std::vector<InputFile> files;
  for (size_t at = 0; at < bytes.size();) {
    ArchiveEntry e;
    if (bytes.size() - at < sizeof e) throw SandboxError("a file archive ends early");
    std::memcpy(&e, bytes.data() + at, sizeof e);
    at += sizeof e;
    if (e.path_bytes > bytes.size() - at || e.size > bytes.size() - at - e.path_bytes) {
      throw SandboxError("a file archive ends early");
    }
    InputFile f{bytes.substr(at, e.path_bytes), bytes.substr(at + e.path_bytes, e.size), (e.mode & 0100) != 0};
    at += e.path_bytes + e.size;
    if (!(e.mode & kArchiveDirectory)) files.push_back(std::move(f));
  }
  return files;
}

bool ends_for_want_of_memory(const std::string& err) {
  return err.find("MemoryError") != std::string::npos || err.find("std::bad_alloc") != std::string::npos ||
         err.find("out of memory") != std::string::npos || err.find("Cannot allocate memory") != std::string::npos;
}

}  // namespace

Watch::Watch(const Jailer& jailer, Cgroup& cgroup, const Limits& limits)
    : jailer_(jailer), cgroup_(cgroup), limits_(limits), start_(Clock::now()), last_look_(start_) {
  cpu_start_us_ = cgroup_.cpu_us();
  oom_start_ = cgroup_.out_of_memory_kills();
  idle_limit_s_ = std::clamp(limits.cpu_s, 2.0, 10.0);
}

void Watch::add(uint32_t run, uint64_t nonce, Pipes pipes) {
  Run r{};
  r.number = run;
  r.nonce = nonce;
  r.pipes = std::move(pipes);
  runs_.insert(runs_.begin(), std::move(r));
}

bool Watch::all_ended() const {
  return std::all_of(runs_.begin(), runs_.end(), [](const Run& r) { return r.ended; });
}

// Often enough that CPU time cannot pass the limit by more than a few tens of milliseconds.
int Watch::next_look_ms() const {
  const double left_s = limits_.cpu_s - static_cast<double>(cpu_used_us_) / 1e6;
  const int cap = cgroup_.limits_memory() ? 50 : 10;
  const double processors = static_cast<double>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  return std::clamp(static_cast<int>(left_s * 1000 / processors), 5, cap);
}

void Watch::stop(Run& run, Outcome why, const std::string& reason) {
  if (run.ended || run.stopped) return;
  run.stopped = true;
  run.why = why;
  run.reason = reason;
  run.stop_time = Clock::now();
  JailMessage m{};
  m.op = JailOp::kKill;
  m.run = run.number;
  if (send(jailer_.control.get(), &m, sizeof m, MSG_NOSIGNAL) < 0) throw_errno("the jailer does not listen");
}

void Watch::stop_all(Outcome why, const std::string& reason) {
  for (Run& r : runs_) stop(r, why, reason);
}

void Watch::look() {
  const auto now = Clock::now();
  const double interval_s = seconds(now - last_look_), wall_s = seconds(now - start_);
  last_look_ = now;
  ProcessScan scan;
  if (jailer_.proc.valid()) scan = scan_processes(jailer_.proc.get());
  const uint64_t cpu = cgroup_.counts_cpu() ? cgroup_.cpu_us() - cpu_start_us_ : scan.cpu_us;
  cpu_used_us_ = std::max(cpu_used_us_, cpu);
  if (static_cast<double>(cpu_used_us_) > limits_.cpu_s * 1e6) {
    return stop_all(Outcome::kTimeLimit, "used more than " + with_unit(limits_.cpu_s, "s of CPU time"));
  }
  const bool idle = jailer_.proc.valid() && !scan.wants_cpu &&
                    static_cast<double>(cpu_used_us_ - cpu_last_us_) < interval_s * 1e6 * 0.02 + 100;
  cpu_last_us_ = cpu_used_us_;
  if (idle) idle_s_ += interval_s;
  if (idle_s_ > idle_limit_s_) {
    return stop_all(Outcome::kTimeLimit, "waited for " + with_unit(idle_limit_s_, "s without using the processor"));
  }
  if (wall_s > limits_.cpu_s * limits_.wall_factor + 5) {
    return stop_all(Outcome::kTimeLimit, "stopped after " + with_unit(wall_s, "s of wall time"));
  }
  if (!cgroup_.limits_memory() && scan.resident_kb > (limits_.memory_mb << 10)) {
    return stop_all(Outcome::kMemoryLimit,
                    "used more than " + with_unit(static_cast<double>(limits_.memory_mb), "MiB of memory"));
  }
}

// keep: bytes worth keeping; limit: bytes after which the run is stopped.
void Watch::read_from(FileDescriptor& fd, std::string& to, uint64_t keep, uint64_t limit, uint64_t* seen) {
  static char buffer[1 << 16];
  for (int i = 0; i < 16 && fd.valid(); i++) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      fd.reset();
      return;
    }
    if (to.size() < keep) to.append(buffer, std::min(static_cast<size_t>(n), static_cast<size_t>(keep - to.size())));
    const uint64_t total = seen ? * seen += static_cast<uint64_t>(n) : to.size();
    if (total >= limit) {
      stop_all(Outcome::kOutputLimit, "wrote " + with_unit(static_cast<double>(limit >> 20), "MiB or more"));
    }
  }
}

void Watch::read_pipes(Run& r) {
  const uint64_t output = limits_.output_mb << 20;
  read_from(r.pipes.out, r.out, output, output, nullptr);
  read_from(r.pipes.err, r.err, kKeepErrors, output, &r.err_bytes);
  read_from(r.pipes.result, r.result, kKeepResult, kKeepResult, nullptr);
  read_from(r.pipes.fetch, r.fetched, limits_.files_mb << 21, limits_.files_mb << 21, nullptr);
  read_from(r.pipes.status, r.status, sizeof(JailStatus), UINT64_MAX, nullptr);
}

void Watch::read_control() {
  JailEnded e;
  const ssize_t n = recv(jailer_.control.get(), &e, sizeof e, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n != sizeof e) throw SandboxError("the jailer ended");
  for (Run& r : runs_) {
    if (r.number != e.run) continue;
    r.ended = true;
    r.end_time = Clock::now();
    r.end = e;
  }
  // The second of a pair holds the verdict: what the first still does is of no interest.
  if (runs_.size() == 2 && runs_[1].ended && !runs_[0].ended) stop(runs_[0], Outcome::kOk, "");
}

std::vector<RunResult> Watch::finish() {
  while (!all_ended()) {
    std::vector<pollfd> list{{jailer_.control.get(), POLLIN, 0}};
    for (Run& r : runs_) {
      for (FileDescriptor* f : {&r.pipes.out, &r.pipes.err, &r.pipes.result, &r.pipes.fetch}) {
        if (f->valid()) list.push_back({f->get(), POLLIN, 0});
      }
    }
    if (poll(list.data(), list.size(), next_look_ms()) < 0 && errno != EINTR) throw_errno("poll");
    for (Run& r : runs_) read_pipes(r);
    if (list[0].revents) read_control();
    if (seconds(Clock::now() - last_look_) * 1000 >= next_look_ms()) look();
    for (const Run& r : runs_) {
      if (r.stopped && !r.ended && seconds(Clock::now() - r.stop_time) * 1000 > kKillGraceMs) {
        throw SandboxError("a run did not end within 2 s of its kill");
      }
    }
  }
  std::vector<RunResult> results;
  for (Run& r : runs_) {
    // Nobody can write any more, so what is in the pipes is all.
    for (FileDescriptor* f : {&r.pipes.out, &r.pipes.err, &r.pipes.result, &r.pipes.fetch, &r.pipes.status}) {
      for (int i = 0; i < 4096 && f->valid(); i++) {
        const size_t before = r.out.size() + r.err_bytes + r.result.size() + r.fetched.size() + r.status.size();
        read_pipes(r);
        if (r.out.size() + r.err_bytes + r.result.size() + r.fetched.size() + r.status.size() == before) break;
      }
    }
    results.push_back(conclude(r));
  }
  return results;
}

RunResult Watch::conclude(Run& r) const {
  RunResult result;
  result.out = std::move(r.out);
  result.err = std::move(r.err);
  result.result = std::move(r.result);
  result.wall_ms = seconds(r.end_time - start_) * 1000;
  result.kill_ms = r.stopped ? seconds(r.end_time - r.stop_time) * 1000 : 0;
  result.memory_kb = r.end.max_rss_kb;
  // What is killed with init is not in init's account; what was seen while it ran is of both halves of a pair.
  result.cpu_ms = static_cast<double>(std::max(r.end.cpu_us, r.stopped ? cpu_used_us_ : 0)) / 1000;
  auto end = [&](Outcome outcome, const std::string& reason) {
    result.outcome = outcome;
    result.reason = reason;
    return result;
  };
  const std::string memory = "used more than " + with_unit(static_cast<double>(limits_.memory_mb), "MiB of memory");
  if (r.end.error != 0) return end(Outcome::kSandboxError, std::string("clone: ") + std::strerror(r.end.error));
  if (r.stopped) return end(r.why, r.reason);
  const bool oom = cgroup_.out_of_memory_kills() > oom_start_;
  JailStatus s{};
  if (r.status.size() != sizeof s) {
    if (oom) return end(Outcome::kMemoryLimit, memory);
    return end(Outcome::kSandboxError, "init ended without a word");
  }
  std::memcpy(&s, r.status.data(), sizeof s);
  if (s.nonce != r.nonce) return end(Outcome::kSandboxError, "a status record with a foreign nonce");
  if (s.error != 0) {
    if (oom) return end(Outcome::kMemoryLimit, memory);
    return end(Outcome::kSandboxError, std::string(s.step) + ": " + std::strerror(s.error));
  }
  result.memory_kb = std::max(result.memory_kb, s.max_rss_kb);
  result.signal = WIFSIGNALED(s.wait_status) ? WTERMSIG(s.wait_status) : 0;
  result.exit_code = WIFEXITED(s.wait_status) ? WEXITSTATUS(s.wait_status) : 128 + result.signal;
  if (oom) return end(Outcome::kMemoryLimit, memory);
  if (static_cast<double>(r.end.cpu_us) > limits_.cpu_s * 1e6 || result.signal == SIGXCPU) {
    return end(Outcome::kTimeLimit, "used more than " + with_unit(limits_.cpu_s, "s of CPU time"));
  }
  if (result.signal == SIGXFSZ) return end(Outcome::kOutputLimit, "wrote a file that is too large");
  if (result.signal != 0) {
    if (!cgroup_.limits_memory() && ends_for_want_of_memory(result.err)) return end(Outcome::kMemoryLimit, memory);
    return end(Outcome::kRuntimeError, std::string("killed by signal ") + std::to_string(result.signal) + " (" +
                                           strsignal(result.signal) + ")");
  }
  if (result.exit_code != 0) {
    if (!cgroup_.limits_memory() && ends_for_want_of_memory(result.err)) return end(Outcome::kMemoryLimit, memory);
    return end(Outcome::kRuntimeError, "exit code " + std::to_string(result.exit_code));
  }
  if (!r.fetched.empty()) result.fetched = unpack(r.fetched);
  return end(Outcome::kOk, "");
}

}  // namespace fulmen::sandboxes
