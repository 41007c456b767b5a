#pragma once
// A whole run: cold start (SFT), evaluation, RL steps, evaluation, export. Conductor and learner rank 0 in one process;
// rollout and reward workers are processes it starts. Resumable at every checkpoint to the very bits of an
// uninterrupted run.

#include <memory>
#include <string>

#include "learner/conductor.h"
#include "learner/rl_update.h"
#include "learner/run_checkpoint.h"

namespace fulmen::learner {

enum class Start { kNew, kResume, kFresh };  // kNew: the run directory must not hold a run yet

// Exclusive use of a run directory: a second process in it is an Error naming the first one's pid.
class RunLock {
 public:
  explicit RunLock(const std::string& run_dir);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_ = -1;
};

// The learner's parts for a config: tokenizer, weights (from model.path, or random from run.seed), kernels, trainer.
struct LearnerParts {
  LearnerParts(const base::Config& config);
  base::Config config;
  std::unique_ptr<model::Tokenizer> tokenizer;
  kernels::ThreadPool pool;
  kernels::Context ctx;
  kernels::DType cache_dtype;
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<Trainer> trainer;
  std::string numerics;
};

void run_training(const base::Config& config, Start start);  // fulmen train
void run_sft_only(const base::Config& config, Start start);  // fulmen sft: cold start, evaluation, export
void run_evaluation(const base::Config& config);             // fulmen eval: greedy accuracy of model.path

struct EvalResult {
  double accuracy = 0;
  int64_t problems = 0, unparsable = 0, failed = 0, tokens = 0;
  double seconds = 0;
  std::vector<Episode> episodes;
  std::vector<PromptRecord> records;
};
EvalResult evaluate(const base::Config& config, Conductor& conductor, const Dataset& data, const std::string& title);

}  // namespace fulmen::learner
