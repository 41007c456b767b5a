#pragma once
// The seam of rollout: prompts in, finished completions out, one weights version at a time. The engine owns the caches
// and the schedule; what it generates for (prompt, sample) depends on weights, prompt, settings and seed only, never on
// what else runs (numerics contract). Single caller; kernels use the context's pool.
//
// Continuous batching: every step() runs one ragged forward of all decode rows and up to prefill_rows prompt rows. A
// group's prompt is prefilled once; its lightning state, partial block and KV pages are then shared (copied on the last
// page). Memory is fixed by the config: admission by free slots and pages; when pages run out the youngest sequence is
// preempted (its tokens are kept and re-prefilled later: same bits). Logits of the sampled rows (max_sequences x V
// floats) come on top.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/sampler.h"
#include "shared/model/tokenizer.h"
#include "shared/model/transformer.h"

namespace fulmen::rollout {

struct EngineLimits {
  int max_sequences = 128;         // running at once; fewer when memory_bytes holds fewer
  int prefill_rows = 256;          // prompt rows in one forward
  int64_t memory_bytes = 1 << 30;  // caches
  int64_t max_tokens = 4096;       // prompt + completion of one sequence
};

struct GenerateSettings {
  kernels::SamplingSettings sampling;
  int max_new_tokens = 256;
  std::vector<std::string> stop;  // stop strings; the completion ends with the token that completes one
  int repetition_window = 3000;   // 0 = off
  float repetition_prob = 0.99f;
  uint64_t seed = 1;
};

struct GroupRequest {
  uint64_t group_id = 0, prompt_id = 0;
  std::vector<int32_t> prompt;  // at least one token
  std::vector<uint32_t> sample_index;
  GenerateSettings settings;
};

enum class Finish { kStop, kLength, kRepetition, kAborted };

struct Completion {
  uint64_t group_id = 0, prompt_id = 0;
  uint32_t sample_index = 0;
  std::vector<int32_t> tokens;  // end token included when it was sampled
  std::vector<float> logprob;   // behaviour, per token
  Finish finish = Finish::kStop;
};

struct EngineStats {
  int64_t running = 0, queued = 0;
  int64_t prompt_tokens = 0, new_tokens = 0, steps = 0, preemptions = 0;  // since construction
  int64_t discarded = 0;  // tokens sampled for sequences that had ended, one at most each (batch_engine.h)
};

class Engine {
 public:
  virtual ~Engine() = default;
  // Throws Error naming group and limit when a request can never be served (prompt + max_new_tokens > max_tokens, empty
  // prompt, token outside the vocabulary, sampling settings out of range); nothing of it is queued then.
  virtual void submit(GroupRequest request) = 0;
  // Queues one forward; returns the completions that finished in it, or on a GPU, which is kept one step ahead, in the
  // forward before; oldest request first. Nothing to do: returns at once.
  virtual std::vector<Completion> step() = 0;
  // on_token(group_id, sample_index, token) after each sampled token (generate streams with it); may be empty.
  virtual void on_token(std::function<void(uint64_t, uint32_t, int32_t)> f) = 0;
  virtual void abort_all() = 0;  // drops everything queued and running, for a new weights version or shutdown
  // Drops one group; returns its unfinished samples as kAborted, with what they have so far. Unknown group: empty.
  virtual std::vector<Completion> abort_group(uint64_t group_id) = 0;
  // Another version of the same architecture, packed, that outlives the engine. Throws Error unless idle: no completion
  // may mix versions unnoticed. The caches stay allocated.
  virtual void set_weights(const model::Weights& weights) = 0;
  virtual bool idle() const = 0;
  virtual EngineStats stats() const = 0;
};

// weights must be packed and outlive the engine; tokenizer is for stop strings and the end token (may be null:
// neither).
std::unique_ptr<Engine> make_engine(const model::Weights& weights, kernels::DType cache_dtype,
                                    const EngineLimits& limits, const model::Tokenizer* tokenizer,
                                    kernels::Context& ctx);

}  // namespace fulmen::rollout
