#pragma once
// Every kind of task, one file each. A file holds the rules (its head comment), a generator and a verifier.

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "shared/task/answer.h"
#include "shared/task/puzzle.h"
#include "shared/task/task.h"

namespace fulmen::task {

extern const Task kArithmetic, kArrowMaze, kBooleanExpressions, kBuggyTables, kCalcudoko, kCampsite, kCipher,
    kCryptarithm, kDyckLanguage, kDyckLanguageErrors, kDyckLanguageReasoningErrors, kFutoshiki, kGameOf24,
    kGoodsExchange, kKukurasu, kMathPath, kMinesweeper, kNorinori, kNumberWall, kNumbrix, kObjectCounting,
    kObjectProperties, kOperation, kSkyscraperPuzzle, kSpaceReasoning, kSpaceReasoningTree, kStarPlacementPuzzle,
    kSudoku, kSurvo, kTimeSequence, kWebOfLies, kWordSorting, kWordSortingMistake, kWordscapes, kZebraPuzzle;

// The last sentence of every prompt.
inline std::string answer_request(std::string_view form) {
  return fmt::format("\nWrite the final answer between <answer> and </answer>: {}.", form);
}

// Kinds with one right text. Case and white space do not matter.
Check check_text(const Question& q, std::string_view answer);
Check check_list(const Question& q, std::string_view answer);  // the same items in the same order
Check check_set(const Question& q, std::string_view answer);   // the same items in any order, none twice
Check check_integer(const Question& q, std::string_view answer);

// A grid whose given cells (not 0) must be kept. The answer's cells must lie in low..high.
struct GridAnswer {
  Check check;  // right: `grid` may be looked at
  Numbers grid;
};
GridAnswer read_filled_grid(std::string_view answer, const Numbers& given, int low, int high);
// The same for a square in which every row and column holds 1 to n once. Throws when `given` is no square.
GridAnswer read_latin_square(std::string_view answer, const Numbers& given);
inline size_t blanks(const Numbers& grid) {
  size_t n = 0;
  for (const auto& row : grid)
    for (const int v : row) n += v == 0;
  return n;
}

}  // namespace fulmen::task
