#include "reward/logic.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "shared/task/synlogic.h"
#include "shared/task/task.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::json;

const char* const kNoPuzzle = "extra_info: want {\"puzzle\": {...}}, as fulmen task generate writes it";

const task::Task* task_of(const Record& r, const Json& extra) {
  std::vector<std::string> names{r.kind, r.data_source};
  if (const auto it = extra.find("task"); it != extra.end() && it->is_string()) names.push_back(it->get<std::string>());
  for (const std::string& name : names)
    if (const task::Task* t = task::task_of_source(name)) return t;
  return nullptr;
}

class Logic : public Function {
 public:
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  bool wants_truth() const override { return false; }  // most puzzles are their own truth

  std::string truth_problem(const Record& record) override {
    Record r = record;
    const bool gold = r.ground_truth.find_first_not_of(" \t\r\n") != std::string::npos;
    r.response = "<answer>" + (gold ? r.ground_truth : "none") + "</answer>";
    const Verdict v = score(r);
    if (v.kind == Kind::kError) return v.detail;
    return gold && v.score <= 0 ? "the ground truth is not a right answer: " + v.detail : "";
  }

  Verdict score(const Record& r) override {
    const Json extra = Json::parse(r.extra_info, nullptr, false);
    if (!extra.is_object()) return make_verdict(Kind::kError, 0, kNoPuzzle);
    const task::Task* t = task_of(r, extra);
    if (t == nullptr)
      return make_verdict(Kind::kError, 0,
                          fmt::format("no logic task is called \"{}\"; fulmen task list shows them",
                                      r.data_source.empty() ? r.kind : r.data_source));
    try {
      task::Check check;
      if (extra.contains("puzzle")) {
        check = task::check_response(*t, {extra["puzzle"], r.ground_truth}, r.response);
      } else if (extra.contains("metadata")) {
        const Json own =
            task::import_synlogic({{"task", t->name}, {"metadata", extra["metadata"]}, {"answer", r.ground_truth}});
        const std::string gold = own["reward_model"]["ground_truth"];
        check = task::check_response(*t, {own["extra_info"]["puzzle"], gold}, r.response);
      } else {
        return make_verdict(Kind::kError, 0, kNoPuzzle);
      }
      if (check.finding == task::Finding::kUnreadable) return make_verdict(Kind::kUnparsable, 0, check.why);
      return make_verdict(Kind::kScore, check.finding == task::Finding::kRight ? 1 : 0, check.why);
    } catch (const Error& e) {  // the record is no puzzle
      return make_verdict(Kind::kError, 0, e.what());
    }
  }

 private:
  std::string name_ = "logic", version_ = "logic-2";
};

}  // namespace

std::unique_ptr<Function> make_logic() { return std::make_unique<Logic>(); }

bool is_logic_kind(const std::string& kind) {
  const task::Task* t = task::task_of_source(kind);
  return t != nullptr && !t->answers_after_hashes;
}

}  // namespace fulmen::reward
