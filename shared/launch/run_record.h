#pragma once
// What a run directory holds, read back for report, top and diff. A run may be going on: a torn last line is left out.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "shared/base/metrics.h"

namespace fulmen::launch {

struct MetricsLine {
  int64_t step = 0;
  base::Metrics values;  // null reads as NaN
};

// Of run_dir/metrics.jsonl, in file order. A step may have several lines (an evaluation writes its own). Throws Error
// when the directory holds no metrics, or naming file:line of a broken one.
std::vector<MetricsLine> read_metrics(const std::string& run_dir);

struct EpisodeLine {
  int64_t step = 0, prompt_id = 0, sample_index = 0, tokens = 0;
  std::string prompt, completion, ground_truth, verdict, finish;
  std::optional<double> score;
  double mean_logprob = 0;
};

// Steps that have a file episodes/step_N.jsonl, ascending; and one such file.
std::vector<int64_t> episode_steps(const std::string& run_dir);
std::vector<EpisodeLine> read_episodes(const std::string& run_dir, int64_t step);

}  // namespace fulmen::launch
