#pragma once
// What strangers send to the reward service: records, a judge's replies. Each returns whether the bytes were
// understood; a crash, an exception that is none of ours, or a broken promise is a defect.

#include <string>
#include <string_view>
#include <vector>

namespace fulmen::fuzz {

// A line of `fulmen score`: read, written and read again it is the same record; its tests are read or refused; as the
// verdict of a user's program it is read or refused.
bool read_score_record(std::string_view bytes);
std::vector<std::string> score_record_seeds();

// The body of a judge's answer: a text whose last line is a grade, a preference, or neither.
bool read_judge_answer(std::string_view bytes);
std::vector<std::string> judge_answer_seeds();

}  // namespace fulmen::fuzz
