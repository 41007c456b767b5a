#pragma once
// Supervised fine-tuning on packed sequences: the cold start before RL, and `fulmen sft`. Cross entropy on completion
// tokens only, mean over all target tokens of the step.

#include <functional>

#include "learner/dataset.h"
#include "learner/trainer.h"

namespace fulmen::learner {

struct SftStep {
  int64_t step = 0;
  double loss = 0, grad_norm = 0;
  int64_t tokens = 0;  // rows through the model
};

// Runs config.sft.steps steps. Example n of the run is record shuffled_index(seed, n); every record needs a worked
// completion (Error otherwise). The optimizer state is fresh at the start and at the end.
void run_sft(const base::Config& config, const Dataset& data, const model::Tokenizer& tokenizer, Trainer& trainer,
             const std::function<void(const SftStep&)>& on_step);

// run_sft on the examples that the config names: sft.data, or the training problems.
void run_cold_start(const base::Config& config, const model::Tokenizer& tokenizer, Trainer& trainer,
                    const std::function<void(const SftStep&)>& on_step);

}  // namespace fulmen::learner
