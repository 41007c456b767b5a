#pragma once
// The law of the program as a check anybody can run: generate with the rollout path (random prefill pieces, random live
// sets, one-row decode, a prompt prefilled once and forked to its samples), run the learner's packed forward on the
// result, and count bits that differ. Used by fulmen-selftest and the tests.

#include <cstdint>
#include <vector>

#include "shared/model/transformer.h"

namespace fulmen::model {

struct ParityPlan {
  int prompts = 3, samples = 2;
  int max_prompt = 150, max_completion = 90;  // lengths are drawn from half of it to all of it
  float temperature = 0.75f;
  uint64_t seed = 1;
  std::vector<int> prompt_lengths = {};  // one per prompt, instead of drawn ones; none above max_prompt
};

struct ParityEpisode {
  std::vector<int32_t> tokens;
  size_t prompt = 0;           // tokens given, the rest was sampled
  std::vector<float> logprob;  // of tokens[prompt], tokens[prompt + 1], ...
  std::vector<float> hidden;   // (tokens - 1, C)
};

struct ParityCount {
  int64_t values = 0, differ = 0;  // compared as bit patterns
  double max_difference = 0;
};
ParityCount count_differing(const std::vector<float>& a, const std::vector<float>& b);  // same length, else Error

// Weights packed. The schedule and the samples are a function of the plan.
std::vector<ParityEpisode> parity_rollout(const Weights& weights, kernels::DType cache_dtype, const ParityPlan& plan,
                                          kernels::Context& ctx);

// The same episodes through packed whole sequences, in another order and split into `batches` micro-batches: their
// tokens and prompt lengths with the learner's logprob and hidden. `tape` may be null.
std::vector<ParityEpisode> parity_learner(const Weights& weights, kernels::DType cache_dtype, const ParityPlan& plan,
                                          const std::vector<ParityEpisode>& episodes, int batches, Tape* tape,
                                          kernels::Context& ctx);

struct ParityResult {
  ParityCount logprob, hidden;
};
ParityResult compare(const std::vector<ParityEpisode>& a, const std::vector<ParityEpisode>& b);

// A model of a few ten thousand parameters with every feature of the architecture in it: both kinds of layers, a number
// of heads that is no power of two, grouped KV heads, experts, partial RoPE.
ModelConfig parity_model();
// init_random, then norms get values around 1 as well: a norm of ones would hide a forgotten weight.
void parity_init(Weights& weights, uint64_t seed);

}  // namespace fulmen::model
