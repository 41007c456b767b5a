#pragma once
// Where do rollout's path and the learner's path part? Called when a step finds a token whose log-prob bits differ:
// runs the sequence both ways in this process (packed forward; prompt prefill, then one decode row at a time on a
// cache) and compares a 64-bit hash of every row of every named intermediate.

#include <span>
#include <string>

#include "learner/packer.h"
#include "shared/model/transformer.h"

namespace fulmen::learner {

struct Divergence {
  bool found = false;  // false: both paths of this process agree, so the worker computed with something else
  int layer = 0;       // -1 embedding, num_layers final norm
  std::string op;
  int64_t position = 0;
};

// Compares positions [0, prompt + target - 1). The first difference is the one at the smallest position, then layer.
Divergence find_divergence(const model::Weights& packed_side, const model::Weights& cached_side,
                           kernels::DType cache_dtype, const Sequence& sequence, kernels::Context& ctx);

std::string describe(const Divergence& d, const model::ModelConfig& config);

}  // namespace fulmen::learner
