#pragma once
// `fulmen diff A B`: where two runs part. Configuration keys, the first step whose numbers differ (times and speeds
// left out), and the exported weights byte for byte. Exit code 0 when numbers and weights are the same, else 1.

#include <string>
#include <vector>

namespace fulmen::launch {

struct Difference {
  std::string text;   // lines to print
  bool same = false;  // numbers and exported weights; the configuration may differ (rollout.workers)
};

Difference compare_runs(const std::string& a, const std::string& b);

int run_diff(const std::vector<std::string>& words);

}  // namespace fulmen::launch
