#pragma once
// Prompts to train or evaluate on: records of a JSONL file in verl's shape (columns mappable), problems of a generated
// task, or a mix of several. A bad line is an error naming file:line and what is missing; nothing is skipped silently.
//
// Which source the n-th prompt of a run comes from, and how difficult it is, are functions of (run.seed, n): neither
// workers nor a resume change them. With data.curriculum_steps = S, prompt n of step s = n / prompts_per_step has a
// difficulty drawn evenly from LOW..LOW + (HIGH - LOW) * min(s, S) / S. Held-out problems, and the examples of a cold
// start, are drawn from the whole range.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "shared/base/config.h"
#include "shared/model/tokenizer.h"

namespace fulmen::learner {

struct PromptRecord {
  std::string prompt;  // text after the chat template
  std::vector<int32_t> ids;
  std::string data_source, ground_truth;
  std::string extra_info = "{}";
  std::string worked;      // a worked completion for the cold start; "" = none
  std::string unanswered;  // the worked completion without its final answer; "" = none
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;  // records in one epoch; tasks: a large number, every index is a problem
  virtual PromptRecord record(int64_t index) const = 0;
  virtual std::string describe() const = 0;
};

enum class Split { kTrain, kEval };

// kTrain: data.mix, data.task or data.train. kEval: data.eval, else the held-out problems of the tasks, in the shares
// of the mix. Throws Error for a prompt longer than data.max_prompt_tokens, of a task when it is drawn.
std::unique_ptr<Dataset> make_dataset(const base::Config& config, Split split, const model::Tokenizer& tokenizer);

// What only the tasks know: their names and ranges of difficulty. Throws base::ConfigError.
void check_data(const base::Config& config);

// Index of the n-th prompt of a run: epochs over the data set, each in an order of its own (or in file order).
int64_t shuffled_index(uint64_t seed, int64_t n, int64_t size, bool shuffle);

}  // namespace fulmen::learner
