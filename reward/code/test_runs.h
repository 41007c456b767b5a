#pragma once
// Runs a program against the tests of a record, one function a form. Each counts what passed and remembers the first
// failure; expected outputs stay in this process.

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "reward/code/code_tests.h"
#include "reward/code/sandbox_client.h"

namespace fulmen::reward {

struct Tally {
  size_t passed = 0, total = 0;
  std::string first_failure;                               // "test 2: WA word 1: got ..., want ..."
  std::string sandbox_error;                               // set: no verdict about the program
  std::string test_error;                                  // set: the tests are at fault
  bool out_of_time = false;                                // the record's deadline
  std::vector<std::pair<std::string, double>> components;  // further ones

  void fail(const std::string& text) {
    if (first_failure.empty()) first_failure = text;
  }
};

struct TestRun {
  SandboxClient& sandbox;
  const SandboxLanguage& language;
  const CodeTests& tests;
  SandboxLimits limits;
  std::chrono::steady_clock::time_point deadline;
};

Tally run_input_output(const TestRun& run, const std::string& code);
Tally run_calls(const TestRun& run, const std::string& code);    // python
Tally run_asserts(const TestRun& run, const std::string& code);  // python

// "TLE used more than 2 s of CPU time (exit code ...)", with the last line of stderr where it explains.
std::string describe(const SandboxReport& report);

}  // namespace fulmen::reward
