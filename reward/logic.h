#pragma once
// "logic": answers to the puzzles of shared/task. 1 when the answer follows the puzzle's rules (any valid solution
// where several are), else 0. No final answer in the task's form (shared/task/answer.h), or one that cannot be read:
// unparsable.
//
// The puzzle is extra_info.puzzle and the task data_source ("logic/sudoku"), or kind ("sudoku"); ground_truth is the
// gold answer. Records of SynLogic's generators (extra_info.metadata, extra_info.task) are taken over by
// shared/task/synlogic.h. A record without a puzzle or of an unknown task: error.

#include <memory>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

std::unique_ptr<Function> make_logic();

bool is_logic_kind(const std::string& kind);  // "sudoku": the name of a logic task

}  // namespace fulmen::reward
