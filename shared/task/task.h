#pragma once
// Logic tasks: generators of puzzles and the verifiers of their answers. Host only. The learner draws prompts here, the
// reward service checks answers here, `fulmen task` shows both to a person.
//
//   a problem is a function of (task, seed, split, index, difficulty), the same bytes on every machine: counter-based
//   random numbers, integers only, no distribution of the standard library
//   splits are disjoint by construction: a problem whose text hashes to 0 mod 8 is held out, every other is training
//   difficulty is 1..10; Problem::size, the number of things to find out, grows with it on average
//   the answer stands between <answer> and </answer>, behind the reasoning (answer.h); one convention for every kind
//   a verifier checks the rules of the puzzle, not the text of one solution, wherever several solutions are valid
//   no text of a model is ever evaluated: expressions have a parser of their own with limits (expression.h)
//
// Errors: Error for a puzzle that is not one (a record made elsewhere); an answer is never an error.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/error.h"
#include "shared/task/random.h"

namespace fulmen::task {

constexpr int kMaxDifficulty = 10;

struct Problem {
  std::string prompt;     // the rules, the puzzle and the form of the answer
  std::string answer;     // the gold answer, without tags
  nlohmann::json puzzle;  // what the verifier needs, an object
  int size = 0;           // things to find out: cells, steps, words (Task::size_means)
  int difficulty = 0;     // set by make_problem
  std::string worked;     // a worked completion; "" = only the answer is known
  std::string identity;   // the text whose hash chooses the split; "" = the prompt
};

enum class Finding { kRight, kWrong, kUnreadable };  // unreadable: not an answer of the form asked for

struct Check {
  Finding finding = Finding::kRight;
  std::string why;  // what is wrong, for a person
};

inline Check right() { return {}; }
inline Check wrong(std::string why) { return {Finding::kWrong, std::move(why)}; }
inline Check unreadable(std::string why) { return {Finding::kUnreadable, std::move(why)}; }

struct Question {
  const nlohmann::json& puzzle;
  std::string_view gold;  // some kinds have one right text; others do not look at it
};

struct Task {
  uint32_t id = 0;  // of its random stream: never changes, or every problem would
  const char* name = "";
  const char* sentence = "";
  const char* size_means = "";
  Problem (*generate)(Random& random, int difficulty) = nullptr;
  Check (*verify)(const Question& question, std::string_view answer) = nullptr;
  bool answers_after_hashes = false;  // arithmetic alone: "#### 42", the form the smallest models learn
};

const std::vector<const Task*>& all_tasks();  // by name
// Throws Error naming the nearest task.
const Task& find_task(const std::string& name);
// "logic/sudoku" or "sudoku" -> the task, or nullptr. "arithmetic" has no prefix.
const Task* task_of_source(std::string_view data_source);
std::string data_source_of(const Task& task);

struct Draw {
  uint64_t seed = 1;
  bool held_out = false;
  int64_t index = 0;
  int low = 1, high = 1;  // difficulty, drawn evenly from the range
};
Problem make_problem(const Task& task, const Draw& draw);

// Cuts the reasoning, finds the final answer, and has it verified.
Check check_response(const Task& task, const Question& question, std::string_view response);
// The completion that says `answer` in the task's form.
std::string completion_of(const Task& task, std::string_view answer);

}  // namespace fulmen::task
