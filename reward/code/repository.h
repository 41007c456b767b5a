#pragma once
// Software engineering: the response is a patch to a prepared source tree; named tests say whether it does what was
// asked (fail_to_pass) and broke nothing (pass_to_pass). Record fields (code_tests.h): repository (a directory),
// fail_to_pass, pass_to_pass, test_command (argv with "{test}"), protect.
//
// The patch is applied in a jail. Then what a patch has no business with is put back as it was: test files,
// conftest.py, sitecustomize.py, pytest.ini and the like, and `protect`. Each test runs in a jail of its own, on a copy
// of the tree in /tmp/repo. Without a command the test is a Python one, dotted or in pytest's way
// (tests/test_a.py::TestB::test_c), run by the warm interpreter; a command runs in /bin/sh and passes with exit code 0.
// Either way the pass is said by a per-run nonce that the runner writes after the test. The patched code runs beside
// the runner, so unlike in run_asserts a patch written to read the runner's memory could find it.

#include <string>

#include "reward/code/test_runs.h"

namespace fulmen::reward {

Tally run_repository(const TestRun& run, const std::string& patch);

// Paths a patch may not change.
bool is_protected(const std::string& path, const std::vector<std::string>& protect);

}  // namespace fulmen::reward
