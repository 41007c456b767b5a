#include "rollout/stop_rules.h"

#include <algorithm>
#include <cmath>

namespace fulmen::rollout {

StopRules::StopRules(const GenerateSettings& settings, const model::Tokenizer* tokenizer, int32_t end_token)
    : stop_(settings.stop),
      tokenizer_(tokenizer),
      end_token_(end_token),
      max_new_tokens_(settings.max_new_tokens),
      repetition_window_(settings.repetition_window),
      repetition_logprob_(std::log(settings.repetition_prob)) {
  for (const std::string& s : stop_) {
    FULMEN_CHECK(!s.empty(), "stop strings: got an empty one, which would stop at once");
    longest_ = std::max(longest_, s.size());
  }
  FULMEN_CHECK(stop_.empty() || tokenizer_ != nullptr, "stop strings: the engine has no tokenizer to find them with");
}

std::optional<Finish> StopRules::check(StopState& state, int32_t token, float logprob, int64_t count) const {
  if (token == end_token_) return Finish::kStop;
  if (!stop_.empty() && completes_stop_string(state.tail, token)) return Finish::kStop;
  if (repetition_window_ > 0) {
    state.confident = logprob > repetition_logprob_ ? state.confident + 1 : 0;
    if (state.confident >= repetition_window_) return Finish::kRepetition;
  }
  if (count >= max_new_tokens_) return Finish::kLength;
  return std::nullopt;
}

bool StopRules::completes_stop_string(std::string& tail, int32_t token) const {
  const size_t old_size = tail.size();
  tail += token_text(*tokenizer_, token);
  for (const std::string& s : stop_) {
    // A match that ends in the old text would have stopped the completion earlier.
    const size_t from = old_size >= s.size() ? old_size - s.size() + 1 : 0;
    if (tail.find(s, from) != std::string::npos) return true;
  }
  if (tail.size() >= longest_) tail.erase(0, tail.size() - longest_ + 1);
  return false;
}

int32_t end_token_of(const model::Tokenizer* tokenizer, const model::ModelConfig& config) {
  if (tokenizer == nullptr) return -1;
  return tokenizer->eos_id() >= 0 ? tokenizer->eos_id() : static_cast<int32_t>(config.eos_token_id);
}

std::string token_text(const model::Tokenizer& tokenizer, int32_t token) {
  if (token < 0 || token >= tokenizer.vocab_size()) return {};
  return tokenizer.decode({&token, 1});
}

}  // namespace fulmen::rollout
