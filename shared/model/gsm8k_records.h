#pragma once
// GSM8K as its authors publish it, {"question", "answer"} a line, into the records a run reads (verl's shape): prompt,
// data_source, ability, reward_model.ground_truth, extra_info.

#include <cstdint>
#include <string>

namespace fulmen::model {

// Writes `to` when every line of `from` was good; the number of records. split goes into extra_info ("train", "test").
// Throws Error naming file:line.
int64_t convert_gsm8k(const std::string& from, const std::string& to, const std::string& split);

}  // namespace fulmen::model
