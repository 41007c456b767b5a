#pragma once
// The tests of a programming problem, read from a record. Forms that are understood, from extra_info (where the
// record's own fields land) or from ground_truth as JSON text:
//
//   stdin/stdout  tests: [{"input","output"}...], [[input, output]...] or {"inputs":[...],"outputs":[...]} (verl's
//                 prime_code, APPS, TACO); public_tests + private_tests + generated_tests (CodeContests),
//                 public_test_cases + private_test_cases (LiveCodeBench)
//   call          the same with "fn_name" or "entry_point": inputs are argument lists, or one JSON value a line
//                 (LiveCodeBench), outputs are return values
//   asserts       test_list or asserts (+ test_setup_code, test_imports) of MBPP; test + entry_point (+ prompt) of
//   HumanEval;
//                 {"functional": CODE}; {"assert_case":[...]}; a list of assert lines; a text of test code
//   repository    repository.h
//
// Beside them: checker ("exact", "tokens", "float", or {"kind","tolerance","source"}), language, time_limit_s or
// time_limit or cpu_s, memory_limit_mb. What has no tests, or is none of these, is an Error: never a pass.

#include <memory>
#include <string>
#include <vector>

#include "reward/code/checker.h"
#include "reward/reward.h"

namespace fulmen::reward {

struct RepositoryTests {
  std::string directory;  // prepared source tree on this machine
  std::vector<std::string> fail_to_pass, pass_to_pass;
  std::vector<std::string> command;  // argv, "{test}" stands for a test's name; empty: Python's unittest
  std::vector<std::string> protect;  // further paths (files or directories) a patch may not change
};

struct CodeTests {
  enum class Form { kInputOutput, kCall, kAsserts, kRepository };
  struct Case {
    std::string input;     // stdin; for kCall the arguments as a JSON array
    std::string expected;  // stdout; for kCall the value as JSON
  };

  Form form = Form::kInputOutput;
  std::string language;  // "" = the function's own
  std::vector<Case> cases;
  Checker checker;
  std::string entry;                 // kCall, kAsserts: name of the function, may be empty for kAsserts
  std::vector<std::string> asserts;  // sources, each a test of its own
  std::string setup, prompt;         // kAsserts: run before the asserts; the problem's own code (HumanEval)
  RepositoryTests repository;
  double cpu_s = 0;  // 0 = the default
  double memory_mb = 0;
};

// Throws Error: no tests, a form that is none of the above, more than kMaxCases.
CodeTests read_code_tests(const Record& record);

constexpr size_t kMaxCases = 100000;

}  // namespace fulmen::reward
