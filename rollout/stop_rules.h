#pragma once
// When a completion ends: end token, stop string, repetition, length; looked at in that order after each token.

#include <optional>
#include <string>

#include "rollout/engine.h"

namespace fulmen::rollout {

// What one completion carries from token to token.
struct StopState {
  std::string tail;   // decoded text, as much as a stop string may still begin in; empty without stop strings
  int confident = 0;  // consecutive tokens so far with probability above repetition_prob
};

// The rules of one group. Text is decoded only when there are stop strings, and only the new token's.
class StopRules {
 public:
  // tokenizer may be null when there are no stop strings. end_token: -1 for none.
  StopRules(const GenerateSettings& settings, const model::Tokenizer* tokenizer, int32_t end_token);

  // After `token` was appended as the count-th token of the completion.
  std::optional<Finish> check(StopState& state, int32_t token, float logprob, int64_t count) const;

 private:
  bool completes_stop_string(std::string& tail, int32_t token) const;

  std::vector<std::string> stop_;
  const model::Tokenizer* tokenizer_;
  int32_t end_token_;
  int max_new_tokens_, repetition_window_;
  float repetition_logprob_;
  size_t longest_ = 0;
};

// The token that ends a completion: the tokenizer's, else the model's; -1 without a tokenizer.
int32_t end_token_of(const model::Tokenizer* tokenizer, const model::ModelConfig& config);

// Bytes of one token; empty for ids above the tokenizer's (models pad their vocabulary, and may sample the padding).
std::string token_text(const model::Tokenizer& tokenizer, int32_t token);

}  // namespace fulmen::rollout
