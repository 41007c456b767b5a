#pragma once
// Problems and answers as JSONL records, in verl's shape:
//
//   {"data_source": "logic/sudoku", "prompt": [{"role": "user", "content": ...}], "completion": "<answer>...</answer>",
//    "reward_model": {"style": "rule", "ground_truth": ...},
//    "extra_info": {"split": ..., "index": ..., "difficulty": ..., "size": ..., "puzzle": {...}}}
//
// A record to be verified has besides a "response" (a whole completion) or an "answer" (without tags); where neither is
// there, its ground truth is checked against its own puzzle.

#include <string>

#include "shared/task/task.h"

namespace fulmen::task {

nlohmann::json to_record(const Task& task, const Draw& draw, const Problem& problem);
// extra_info of a record, as the reward service gets it.
nlohmann::json extra_info_of(const Draw& draw, const Problem& problem);

struct LineVerdict {
  enum Kind { kRight, kWrong, kUnreadable, kError } kind = kError;
  std::string why, json;  // json: {"data_source", "verdict", "score", "detail"}
};
// from: "fulmen", or "synlogic" (synlogic.h).
LineVerdict verify_line(const std::string& line, const std::string& from);

}  // namespace fulmen::task
