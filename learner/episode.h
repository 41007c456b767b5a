#pragma once
// What the learner trains on: one completion of one prompt with its behaviour log-probs and its verdict, as ids.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace fulmen::learner {

enum class Outcome { kScored, kTimeout, kError, kUnparsable, kUndecided, kAborted };

inline const char* outcome_name(Outcome o) {  // as episodes and metrics write it
  switch (o) {
    case Outcome::kScored:
      return "score";
    case Outcome::kTimeout:
      return "timeout";
    case Outcome::kError:
      return "error";
    case Outcome::kUnparsable:
      return "unparsable";
    case Outcome::kUndecided:
      return "undecided";
    case Outcome::kAborted:
      return "aborted";
  }
  return "error";
}

struct Episode {
  uint64_t prompt_id = 0;  // unique number of this issue of a prompt; Philox key
  uint32_t sample_index = 0;
  size_t record = 0;  // index of the prompt record in the data set
  std::vector<int32_t> prompt, completion;
  std::vector<float> logprob;    // behaviour, per completion token
  uint64_t weights_version = 0;  // of the last token; one version a completion in a synchronous run
  bool truncated = false;        // cut by max_new_tokens
  std::string finish;            // stop | length | repetition | aborted
  Outcome outcome = Outcome::kAborted;
  double score = 0;
  std::vector<std::pair<std::string, double>> components;  // function -> its score, before weights
  std::string detail;
  double advantage = 0;  // filled by assign_advantages
  bool trained = false;  // ends up in a gradient; otherwise `dropped` says why
  std::string dropped;   // zero_variance | timeout | error | unparsable | undecided | aborted | truncated | lonely
};

}  // namespace fulmen::learner
