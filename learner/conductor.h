#pragma once
// The conductor (learner rank 0): starts the workers of a run, gives them weights, prompts and completions to score,
// and collects scored episodes. What it returns is a function of the requests alone: which worker did what, in which
// order, and whether one died on the way leaves no trace in the result.
//
// Owner of every wait: a worker silent for kSilenceMs or whose process ended is taken off, its unfinished work goes to
// the others, and it is restarted at most kMaxRestarts times; no episode at all for rollout.timeout_s is an Error
// naming the workers and what they last said. Single thread.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "learner/dataset.h"
#include "learner/episode.h"
#include "shared/model/weights.h"

namespace fulmen::learner {

struct GroupJob {
  uint64_t prompt_id = 0;  // Philox key
  size_t record = 0;       // handed through to the episodes
  PromptRecord prompt;
  int samples = 1;
};

struct GenerateSpec {
  float temperature = 1;
  int max_new_tokens = 256;
  uint64_t seed = 1;
};

struct StepCounts {  // conservation: issued == episodes returned; re-issued counts extra work, not extra episodes
  int64_t issued = 0, reissued = 0, workers_lost = 0, duplicates = 0;
  double generate_s = 0, score_wait_s = 0;  // until the last episode; from then until the last verdict
};

class Conductor {
 public:
  Conductor(const base::Config& config, const std::string& config_path, const std::string& run_id,
            const std::string& numerics, const model::Tokenizer& tokenizer, kernels::Context& ctx);
  ~Conductor();  // stops every worker

  void start();  // starts the processes and waits for their Hello, deadline 60 s
  void publish(const model::Weights& weights, uint64_t version);  // announces; workers swap at their next idle moment

  // Generates and scores every job with the published version. Episodes come back sorted by (prompt_id, sample_index).
  // on_progress(episodes done, of, tokens so far, verdicts missing).
  std::vector<Episode> run(const std::vector<GroupJob>& jobs, const GenerateSpec& spec, StepCounts& counts,
                           const std::function<void(int64_t, int64_t, int64_t, int64_t)>& on_progress = {});

  // Has every reward worker score the cases of reward.golden. Empty when all verdicts are as they must be, else what is
  // wrong, in one line.
  std::string check_golden(int64_t step);

  // rollout.in_turn: returns when the workers have given the memory of their caches back; Error after sync.timeout_s.
  void rest();

  void pump(int timeout_ms);  // listens to the workers while nothing runs, so that none is taken for silent
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Text of a completion as a reward function and a reader see it: without the end token, valid UTF-8 (bad bytes ->
// U+FFFD).
std::string completion_text(const model::Tokenizer& tokenizer, const std::vector<int32_t>& ids);

}  // namespace fulmen::learner
