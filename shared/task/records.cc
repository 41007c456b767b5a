#include "shared/task/records.h"

#include <fmt/format.h>

#include "shared/base/nested_json.h"
#include "shared/task/puzzle.h"
#include "shared/task/synlogic.h"

namespace fulmen::task {
namespace {

Check check_record(const Json& record) {
  const Task* task = task_of_source(text_field(record, "data_source"));
  if (task == nullptr) throw Error("no task of data_source " + text_field(record, "data_source"));
  if (!record.contains("extra_info") || !record["extra_info"].is_object() || !record["extra_info"].contains("puzzle"))
    throw Error("the record has no extra_info.puzzle");
  std::string gold;
  if (record.contains("reward_model")) gold = text_field(record["reward_model"], "ground_truth");
  const Question question{record["extra_info"]["puzzle"], gold};
  if (record.contains("response")) {
    if (!record["response"].is_string()) throw Error("response: want a text");
    return check_response(*task, question, record["response"].get_ref<const std::string&>());
  }
  return task->verify(question, record.contains("answer") ? text_field(record, "answer") : gold);
}

}  // namespace

Json extra_info_of(const Draw& draw, const Problem& p) {
  return {{"split", draw.held_out ? "eval" : "train"},
          {"index", draw.index},
          {"difficulty", p.difficulty},
          {"size", p.size},
          {"puzzle", p.puzzle}};
}

Json to_record(const Task& task, const Draw& draw, const Problem& p) {
  return {{"data_source", data_source_of(task)},
          {"prompt", Json::array({Json{{"role", "user"}, {"content", p.prompt}}})},
          {"completion", p.worked},
          {"reward_model", {{"style", "rule"}, {"ground_truth", p.answer}}},
          {"extra_info", extra_info_of(draw, p)}};
}

LineVerdict verify_line(const std::string& line, const std::string& from) {
  LineVerdict v;
  Json out = Json::object();
  try {
    Json record = base::parse_json<Json>(line, "not a record");
    if (!record.is_object()) throw Error("want a JSON object");
    if (record.contains("id")) out["id"] = record["id"];
    if (from == "synlogic") record = import_synlogic(record);
    if (record.contains("data_source")) out["data_source"] = record["data_source"];
    Check c = check_record(record);
    v.kind = static_cast<LineVerdict::Kind>(c.finding);
    v.why = std::move(c.why);
  } catch (const Json::exception& e) {
    v.why = fmt::format("not a record: {}", e.what());
  } catch (const Error& e) {
    v.why = e.what();
  }
  static constexpr const char* kNames[] = {"right", "wrong", "unreadable", "error"};
  out["verdict"] = kNames[v.kind];
  out["score"] = v.kind == LineVerdict::kRight ? 1 : 0;
  out["detail"] = v.why;
  v.json = out.dump(-1, ' ', false, Json::error_handler_t::replace);
  return v;
}

}  // namespace fulmen::task
