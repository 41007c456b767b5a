#pragma once
// Numbered cases, run in a child process that is watched from outside: a case that hangs, that ends its process or that
// breaks its device for good (an illegal access makes every later CUDA call of the process fail) costs itself and no
// other; the next one begins in a new process. The caller must not have touched the device, which a child could not use
// then. Host code without CUDA: tests/gpu/watched_cases_test.cc runs it anywhere.

#include <cstddef>
#include <functional>
#include <span>
#include <string>

namespace fulmen::gpu {

enum class End { kPassed, kFailed, kBroken, kLeftOut };  // kBroken: failed, and this process is of no more use

struct CaseResult {
  size_t number = 0;
  End end = End::kFailed;  // kBroken too for one that had to be ended or ended itself
  double seconds = 0;
  std::string why;  // "hung for 60 s", "ended by signal 11"; empty: it ran to its end
};

struct Watch {
  std::function<std::string()> prepare;              // in every child, first; one line. May exit() the child
  std::function<End(size_t number)> run;             // in the child
  std::function<void(const std::string&)> prepared;  // in the caller: the first child's line
  std::function<void(const CaseResult&)> done;       // in the caller, after every case
  double seconds_each = 60;                          // longest case, and longest prepare
};

// Runs the cases in order. Returns 0, or when a child ended or hung before its first case, its exit code (1 when it had
// none): nothing was run after that.
int run_watched(std::span<const size_t> numbers, const Watch& watch);

}  // namespace fulmen::gpu
