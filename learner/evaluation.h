#pragma once
// Greedy accuracy on held-out problems, with the conductor's workers.

#include <string>
#include <vector>

#include "learner/conductor.h"
#include "shared/base/metrics.h"

namespace fulmen::learner {

struct EvalResult {
  double accuracy = 0;
  int64_t problems = 0, unparsable = 0, failed = 0, tokens = 0;
  double seconds = 0;
  std::vector<Episode> episodes;
  std::vector<PromptRecord> records;
};

// The first eval.problems records of `data` with the weights published last. title: for the progress line.
EvalResult evaluate(const base::Config& config, Conductor& conductor, const Dataset& data, const std::string& title);

// verl's names: val-core/SOURCE/acc/mean@1 for each data source, and val-core/all/... where there are several.
base::Metrics accuracy_by_source(const EvalResult& result);

void run_evaluation(const base::Config& config);  // fulmen eval: greedy accuracy of model.path

}  // namespace fulmen::learner
