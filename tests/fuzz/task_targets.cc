#include <nlohmann/json.hpp>
#include <utility>

#include "shared/task/answer.h"
#include "shared/task/records.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/targets.h"

namespace fulmen::fuzz {

bool read_task_record(std::string_view bytes) {
  const task::LineVerdict v = task::verify_line(std::string(bytes), "fulmen");
  promise(nlohmann::json::accept(v.json), "a verdict is JSON");
  promise((v.kind == task::LineVerdict::kRight) == v.why.empty(), "a verdict that is not right says why");
  task::verify_line(std::string(bytes), "synlogic");
  return v.kind == task::LineVerdict::kRight;
}

bool read_task_answer(std::string_view bytes) {
  static const auto puzzles = [] {
    std::vector<std::pair<const task::Task*, task::Problem>> all;
    for (const task::Task* t : task::all_tasks()) all.emplace_back(t, task::make_problem(*t, {1, false, 0, 3, 3}));
    return all;
  }();
  if (bytes.empty()) return false;
  const auto& [t, p] = puzzles[static_cast<unsigned char>(bytes[0]) % puzzles.size()];
  const auto c = task::check_response(*t, {p.puzzle, p.answer}, bytes.substr(1));
  promise((c.finding == task::Finding::kRight) == c.why.empty(), "an answer that is not right is told why");
  t->verify({p.puzzle, p.answer}, bytes.substr(1, task::kMaxAnswer));
  return c.finding == task::Finding::kRight;
}

namespace {

std::vector<std::string> record_seeds() {
  std::vector<std::string> seeds;
  for (const task::Task* t : task::all_tasks()) {
    const task::Draw draw{1, false, 0, 3, 3};
    task::Problem p = task::make_problem(*t, draw);
    p.prompt.clear(), p.worked.clear();
    seeds.push_back(task::to_record(*t, draw, p).dump());
  }
  return seeds;
}

std::vector<std::string> answer_seeds() {  // the first byte chooses the kind
  std::vector<std::string> seeds;
  for (const task::Task* t : task::all_tasks()) {
    const char kind = static_cast<char>(seeds.size());
    seeds.push_back(kind + task::completion_of(*t, task::make_problem(*t, {1, false, 0, 3, 3}).answer));
  }
  return seeds;
}

}  // namespace

std::vector<Target> task_targets() {
  return {{"task_record", read_task_record, record_seeds()}, {"task_answer", read_task_answer, answer_seeds()}};
}

}  // namespace fulmen::fuzz
