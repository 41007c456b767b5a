#pragma once
// A user's reward function in Python, in a process of its own (line_host.h, python_host.py).
//
// The function may be any of these, by the names of its parameters (any subset; async too):
//   reward(prompt, response, answer, **kw)                                     -> number, bool, or dict with "score"
//   compute_score(data_source, solution_str, ground_truth, extra_info=None)    verl
//   f(prompts, completions, **columns)                                         TRL: lists; None = nothing to say
//   reward_func(queries, prompts, labels, **kw)                                OpenRLHF: lists; {"rewards", ...}
//   compute_score(data_sources, solution_strs, ground_truths, extra_infos)     verl, batched
// Functions of lists get up to 64 records a call. Further numbers of a dict become components. A file that another
// process changes meanwhile is not loaded again: its version is that of the start.

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

const char* python_program();

}  // namespace fulmen::reward
