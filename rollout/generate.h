#pragma once
// `fulmen generate`: one prompt, its completions as text on a stream while they are generated. The same engine as in a
// run.

#include <iosfwd>
#include <string>
#include <vector>

#include "rollout/engine.h"
#include "shared/base/config.h"

namespace fulmen::rollout {

struct GenerateOptions {
  std::string prompt;  // a user's message; data.template_name of the config makes it a prompt
  int samples = 1;     // one is streamed token by token, several are printed whole, in order
  GenerateSettings settings;
};

struct GenerateResult {
  std::vector<Completion> completions;  // by sample index
  double seconds = 0;                   // prefill and decode, without loading
};

// Model, tokenizer, dtypes and limits of a config, loaded and packed: a directory with safetensors, else random
// weights.
struct LoadedModel {
  std::unique_ptr<model::Weights> weights;
  std::unique_ptr<model::Tokenizer> tokenizer;
};
LoadedModel load_model(const base::Config& config, kernels::Context& ctx);

// Writes text to `out` and one line of numbers to `err`. memory_mb is a budget for many sequences; one always gets what
// it needs.
GenerateResult generate(const GenerateOptions& options, const base::Config& config, const LoadedModel& model,
                        kernels::Context& ctx, std::ostream& out, std::ostream& err);

}  // namespace fulmen::rollout
