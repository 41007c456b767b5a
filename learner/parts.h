#pragma once
// What every learner process holds.

#include <memory>
#include <string>

#include "kernels/device.h"
#include "learner/trainer.h"
#include "shared/base/config.h"
#include "shared/model/tokenizer.h"

namespace fulmen::learner {

// The learner's parts for a config: tokenizer, weights (from model.path, or random from run.seed), kernels, trainer.
struct LearnerParts {
  LearnerParts(const base::Config& config, int rank = 0);
  base::Config config;
  std::unique_ptr<model::Tokenizer> tokenizer;
  kernels::ThreadPool pool;  // run.threads, or this rank's share of the cores
  kernels::Device device;
  kernels::Context& ctx;
  kernels::DType cache_dtype;
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<Trainer> trainer;
  std::string numerics;

  // Around an update: takes the device's memory for its gradients and activations in one piece; with rollout.in_turn
  // end_phase() gives it back.
  void begin_phase();
  void end_phase();

 private:
  bool phase_reserved_ = false;
};

}  // namespace fulmen::learner
