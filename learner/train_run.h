#pragma once
// A whole run: cold start (SFT), evaluation, RL steps, evaluation, export. Conductor and learner rank 0 in one process;
// the other ranks, rollout and reward workers are processes it starts. Resumable at every checkpoint to the very bits
// of an uninterrupted run. A run that is stopped (launch::Stopped) or fails keeps its last whole step.

#include "learner/run_directory.h"
#include "shared/base/config.h"

namespace fulmen::learner {

void run_training(const base::Config& config, Start start);  // fulmen train
void run_sft_only(const base::Config& config, Start start);  // fulmen sft: cold start, evaluation, export

// Goes on from the newest checkpoint of run.dir to RL step `step` and makes a checkpoint there. No evaluation, no
// export.
void run_until(const base::Config& config, int64_t step);

}  // namespace fulmen::learner
