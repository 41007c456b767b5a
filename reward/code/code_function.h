#pragma once
// "code": 1 when the program in the response passes every test, else 0. Programs run in fulmen-sandbox; tests are read
// by code_tests.h, the program by extract_code.h.
//
// Components: pass_rate, the share of tests that passed. detail: how many passed, and the first failure with its
// verdict (WA wrong answer, RE runtime error, TLE, MLE, OLE, CE does not compile). After two runs that were stopped at
// a limit the rest is not run and counts as failed. Kinds: unparsable when there is no program; error when the tests
// cannot be read, there are none, or the sandbox failed three times (a program is never scored for the sandbox's
// fault); timeout when the record's own deadline_ms passes between tests.
//
// Limits are CPU time and memory of a test: from the record, else from the options, else 10 s (30 s for asserts, which
// run as one) and the profile's memory. The general --deadline-ms is no limit here: CPU time decides.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "reward/reward.h"

namespace fulmen::reward {

struct CodeOptions {
  std::string language = "python";    // when the record names none
  double cpu_s = 0, memory_mb = 0;    // of a test; 0 = the default
  std::vector<std::string> profiles;  // YAML files of languages (sandboxes/profile.h)
  std::string cgroup = "auto";        // auto, v2, v1, none
  std::string sandbox;                // path of fulmen-sandbox; "" = beside this program
};

// The sandbox starts with the first record. Throws Error for an unknown language only then, as the verdict's detail.
std::unique_ptr<Function> make_code(const CodeOptions& options);

}  // namespace fulmen::reward
