#pragma once
// A reward function that is a program of its own and speaks JSON lines on stdin and stdout. A call that passes its
// deadline is killed with its whole process group and is a timeout. A program that dies is started again and asked once
// more, each record of a batch alone, so that a record that brings it down costs itself only; one that SIGKILL or
// SIGTERM ends, as a kill from outside does, is given several more tries, also while it loads. After failures in a row
// the next start waits, twice as long each time.
//
// A program that greets writes first {"ready": true, "truth": BOOL, "batch": N} (truth: it wants a ground_truth) or
// {"error": TEXT}; it gets {"id": N, "records": [...]} and answers {"id": N, "verdicts": [...]}. One that does not
// greet gets one record a line, "id" added, and answers one verdict a line with that id; what it writes that is no JSON
// object is taken for a print of its own and goes to the log. Records and verdicts: record_json.h. Not thread-safe.

#include <memory>
#include <string>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct LineHostOptions {
  std::string name;     // of the function
  std::string version;  // see Function::version
  std::string where;    // "reward python:FILE:FUNCTION", for messages
  std::vector<std::string> arguments;
  bool greets = true;
  int deadline_ms = 10000;                     // of one call
  int start_ms = 120000;                       // until the greeting: imports may be heavy
  uint64_t memory_bytes = uint64_t{32} << 30;  // address space
  int max_pause_ms = 5000;
};

// Starts the program. Throws Error naming `where` and the reason.
std::unique_ptr<Function> make_line_host(LineHostOptions options);

// "command:PROGRAM ARGS": a program that does not greet. Words are split at spaces; quotes keep words together.
std::unique_ptr<Function> make_command(const std::string& command, const RewardOptions& options);

// "c:FILE.so": a shared library with the interface of fulmen_reward.h, loaded in a process of its own.
std::unique_ptr<Function> make_c_library(const std::string& file, const RewardOptions& options);

}  // namespace fulmen::reward
