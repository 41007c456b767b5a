#include <fmt/format.h>

#include <algorithm>

#include "shared/base/config.h"
#include "shared/base/file.h"
#include "shared/task/answer.h"
#include "shared/task/kinds/kinds.h"
#include "shared/task/task.h"

namespace fulmen::task {
namespace {

constexpr std::string_view kPrefix = "logic/";

const Task* find(std::string_view name) {
  const auto& tasks = all_tasks();
  const auto it = std::find_if(tasks.begin(), tasks.end(), [&](const Task* t) { return name == t->name; });
  return it == tasks.end() ? nullptr : *it;
}

}  // namespace

const std::vector<const Task*>& all_tasks() {
  static const std::vector<const Task*> tasks{&kArithmetic,
                                              &kArrowMaze,
                                              &kBooleanExpressions,
                                              &kBuggyTables,
                                              &kCalcudoko,
                                              &kCampsite,
                                              &kCipher,
                                              &kCryptarithm,
                                              &kDyckLanguage,
                                              &kDyckLanguageErrors,
                                              &kDyckLanguageReasoningErrors,
                                              &kFutoshiki,
                                              &kGameOf24,
                                              &kGoodsExchange,
                                              &kKukurasu,
                                              &kMathPath,
                                              &kMinesweeper,
                                              &kNorinori,
                                              &kNumberWall,
                                              &kNumbrix,
                                              &kObjectCounting,
                                              &kObjectProperties,
                                              &kOperation,
                                              &kSkyscraperPuzzle,
                                              &kSpaceReasoning,
                                              &kSpaceReasoningTree,
                                              &kStarPlacementPuzzle,
                                              &kSudoku,
                                              &kSurvo,
                                              &kTimeSequence,
                                              &kWebOfLies,
                                              &kWordSorting,
                                              &kWordSortingMistake,
                                              &kWordscapes,
                                              &kZebraPuzzle};
  return tasks;
}

const Task& find_task(const std::string& name) {
  if (const Task* task = find(name)) return *task;
  std::vector<std::string> names;
  for (const Task* t : all_tasks()) names.emplace_back(t->name);
  const std::string near = base::nearest(name, names);
  throw Error(fmt::format("unknown task {}{}; fulmen task list shows all {}", name,
                          near.empty() ? "" : ", did you mean " + near + "?", names.size()));
}

const Task* task_of_source(std::string_view source) {
  return find(source.starts_with(kPrefix) ? source.substr(kPrefix.size()) : source);
}

std::string data_source_of(const Task& task) {
  return task.answers_after_hashes ? task.name : fmt::format("{}{}", kPrefix, task.name);
}

Problem make_problem(const Task& task, const Draw& draw) {
  FULMEN_CHECK(
      1 <= draw.low && draw.low <= draw.high && draw.high <= kMaxDifficulty,
      fmt::format("task {}: difficulty {}..{}, want within 1..{}", task.name, draw.low, draw.high, kMaxDifficulty));
  Random random(base::Stream(draw.seed, base::Purpose::kTask, static_cast<uint64_t>(draw.index),
                             task.id << 1 | (draw.held_out ? 1u : 0u)));
  const int difficulty = random.between(draw.low, draw.high);
  for (;;) {  // about one draw in eight is held out
    Problem p = task.generate(random, difficulty);
    const std::string& text = p.identity.empty() ? p.prompt : p.identity;
    if ((base::digest64(text.data(), text.size()) % 8 == 0) != draw.held_out) continue;
    p.difficulty = difficulty;
    if (p.worked.empty()) p.worked = completion_of(task, p.answer);
    return p;
  }
}

Check check_response(const Task& task, const Question& question, std::string_view response) {
  const FinalAnswer found = task.answers_after_hashes ? answer_after_hashes(response) : final_answer(response);
  return found.text ? task.verify(question, *found.text) : unreadable(found.why);
}

std::string completion_of(const Task& task, std::string_view answer) {
  if (task.answers_after_hashes) return fmt::format("#### {}", answer);
  const bool many_lines = answer.find('\n') != std::string_view::npos;
  return many_lines ? fmt::format("<answer>\n{}\n</answer>", answer) : fmt::format("<answer>{}</answer>", answer);
}

}  // namespace fulmen::task
