#pragma once
// `fulmen plan`: what a config would start, before anything is started or allocated: processes, memory of each role,
// bytes per step and on disk, and whether this machine has room. Figures are computed from the architecture and the
// config; code, stacks and the allocator's slack (some tens of MiB a process) are not in them.

#include <cstdint>
#include <string>
#include <vector>

#include "shared/base/config.h"
#include "shared/model/model_config.h"

namespace fulmen::learner {

struct Machine {
  int cores = 0;
  int64_t memory_bytes = 0, disk_bytes = 0;  // available now; disk: where run.dir lies
};
Machine this_machine(const std::string& run_dir);

struct RoleMemory {  // of one process
  int64_t weights = 0, gradients = 0, moments = 0, activations = 0, caches = 0;
  int64_t total() const { return weights + gradients + moments + activations + caches; }
};

struct Plan {
  RoleMemory learner, rollout;  // of one rank, of one worker
  int64_t shared_image = 0;     // the weights version on offer, shared memory of this host
  int64_t sync_bytes = 0;       // of one version, to each worker
  int64_t checkpoint_bytes = 0, disk_bytes = 0;
  int64_t completions = 0, most_tokens = 0;  // a step generates
  int64_t memory_bytes(const base::Config& c) const;
};

Plan make_plan(const base::Config& config, const model::ModelConfig& m);

// fp32 values that forward and backward of `rows` rows hold in the learner.
int64_t activation_floats(const model::ModelConfig& m, int64_t rows, bool recompute);

// "" when it fits, else one line for each thing that does not: what is short and which number to lower, to what.
std::vector<std::string> advice(const base::Config& config, const model::ModelConfig& m, const Machine& machine);

// On the GPU that rank 0 of the learner computes on: what is taken there, by all roles that share it; and "" when so
// much is free, else one line, which number to lower and to what.
int64_t device_bytes(const base::Config& config, const model::ModelConfig& m);
std::string device_advice(const base::Config& config, const model::ModelConfig& m, int64_t bytes_free);

std::string plan_text(const base::Config& config, const model::ModelConfig& m, const Machine& machine);

}  // namespace fulmen::learner
