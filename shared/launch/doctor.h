#pragma once
// `fulmen doctor [--dir RUN]`: what this machine offers, one line a fact, and what is in the way of a run.

#include <string>
#include <vector>

namespace fulmen::launch {

enum class Health { kGood, kNote, kProblem };  // a note costs speed or a feature; a problem stops a run

struct Finding {
  Health health;
  std::string name, text;
};

// directory: where runs will be written (need not exist yet).
std::vector<Finding> examine_host(const std::string& directory);

int run_doctor(const std::vector<std::string>& words);  // exit code 1 when there is a problem

}  // namespace fulmen::launch
