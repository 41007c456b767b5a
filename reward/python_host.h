#pragma once
// A user's reward function in Python, in a process of its own: JSON lines over a socket pair. A call that passes its
// deadline is killed with its whole process group; a crash costs the one record being scored. The next call starts a
// new process, after a pause that doubles with every failure in a row.
//
// The function may be any of these, by the names of its parameters (any subset; async too):
//   reward(prompt, response, answer, **kw)                                     -> number, bool, or dict with "score"
//   compute_score(data_source, solution_str, ground_truth, extra_info=None)    verl
//   f(prompts, completions, **columns), f(queries, prompts, labels)            TRL, OpenRLHF: lists of one record
// Further numbers of a dict become components. Not thread-safe. The process dies with the thread that started it.

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

struct PythonOptions {
  int deadline_ms = 10000;                     // of one call
  int start_ms = 120000;                       // to load the file: imports may be heavy
  uint64_t memory_bytes = uint64_t{32} << 30;  // address space; libraries map far more than they use
  int max_pause_ms = 5000;
};

// Starts the process and loads the file. Throws Error naming file and function with Python's last line.
std::unique_ptr<Function> make_python(const std::string& file, const std::string& function,
                                      const PythonOptions& options);

}  // namespace fulmen::reward
