#pragma once
// What a run shows: one line a step, the closing table, and the episodes on disk.
//
// episodes/step_N.jsonl, one object a line: step, prompt_id, sample_index, prompt, completion, ground_truth,
// data_source, extra_info, score (null unless scored), verdict, components, detail, finish, tokens,
// mean_logprob, bits (digest of the completion's ids and the bits of their log-probs), advantage, trained or dropped
// (reason), weights_version.

#include <span>
#include <string>

#include "learner/advantage.h"
#include "learner/conductor.h"
#include "learner/rl_update.h"
#include "learner/run_checkpoint.h"
#include "shared/base/metrics.h"

namespace fulmen::learner {

// The metrics of one step. Error when its episodes do not add up: issued = trained + dropped.
void report_step(int64_t step, std::span<const Episode> episodes, const AdvantageCounts& advantages,
                 const StepCounts& counts, const UpdateResult& update, const base::Config& config, base::Metrics& m);

std::string step_line(int64_t step, int64_t steps, const base::Metrics& m, double eta_s);

void write_episodes(const std::string& path, int64_t step, std::span<const Episode> episodes,
                    const std::vector<PromptRecord>& records, const model::Tokenizer& tokenizer, int limit);

struct Summary {
  std::string run_dir, export_dir, example_prompt;
  double accuracy_after = -1;
  int64_t eval_problems = 0, parameters = 0;
};
void print_summary(const Summary& s, const RunState& run);  // the closing table, on stdout

}  // namespace fulmen::learner
