#pragma once
// Checkpoints of a run: DIR/checkpoints/step_N/ with the weights as a Hugging Face directory (fp32), AdamW's moments,
// and state.json with everything else a resumed run needs. Written beside, every file read back and compared by digest,
// then renamed; the older ones go only after that. Resume takes the newest whose digests match.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "learner/trainer.h"
#include "shared/base/config.h"

namespace fulmen::learner {

struct PhaseTimes {  // seconds
  double sft = 0, generate = 0, reward = 0, update = 0, sync = 0, eval = 0;
};

struct RunState {
  int64_t step = 0;  // RL steps done; prompts [0, step * prompts_per_step) are used up
  uint64_t weights_version = 0;
  int64_t episodes = 0, tokens_generated = 0, tokens_compared = 0, bits_differing = 0;  // since the start of the run
  double accuracy_before = -1, accuracy_after_sft = -1;                                 // -1: not measured
  double reward_first = 0, reward_last = 0;  // mean rewards of the first and the newest step
  double seconds = 0;                        // of all processes of this run so far
  PhaseTimes times;
  std::map<std::string, std::string> config;  // base::config_values
};

void save_run_checkpoint(const std::string& run_dir, const RunState& state, Trainer& trainer, int keep);

std::vector<int64_t> checkpoint_steps(const std::string& run_dir);  // newest first, unverified

// Newest checkpoint that verifies, or "" (each that does not is named in a warning).
std::string newest_run_checkpoint(const std::string& run_dir);
RunState load_run_checkpoint(const std::string& checkpoint_dir, Trainer& trainer);  // weights are packed

}  // namespace fulmen::learner
