#include "reward/score_lines.h"

#include <fmt/core.h>

#include <initializer_list>
#include <nlohmann/json.hpp>

#include "kernels/error.h"

namespace fulmen::reward {
namespace {

using Json = nlohmann::ordered_json;  // keys come out as they are written here

constexpr int kMaxDepth = 64;  // printing is recursive

Json parse(const std::string& line) {
  return Json::parse(line, [](int depth, Json::parse_event_t, Json&) {
    FULMEN_CHECK(depth <= kMaxDepth, fmt::format("nested deeper than {}", kMaxDepth));
    return true;
  });
}

std::string reason(const std::exception& e) {
  if (auto* parse_error = dynamic_cast<const Json::parse_error*>(&e)) {
    return fmt::format("not JSON from character {} on", parse_error->byte);
  }
  return e.what();
}

std::string as_text(const Json& j) {
  return j.is_string() ? j.get<std::string>() : j.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// The first of several names that is there and not null.
const Json* find(const Json& record, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    auto it = record.find(name);
    if (it != record.end() && !it->is_null()) return &*it;
  }
  return nullptr;
}

const Json& want(const Json* found, const char* name) {
  FULMEN_CHECK(found, fmt::format("no \"{}\"", name));
  return *found;
}

Record read_record(const Json& j) {
  FULMEN_CHECK(j.is_object(), std::string("got ") + j.type_name() + ", want a JSON object");
  Record r;
  r.response = as_text(want(find(j, {"response", "completion", "solution_str"}), "response"));
  const Json* truth = find(j, {"ground_truth", "answer"});
  if (const Json* model = find(j, {"reward_model"}); !truth && model && model->is_object()) {
    truth = find(*model, {"ground_truth"});
  }
  r.ground_truth = as_text(want(truth, "ground_truth"));
  if (const Json* v = find(j, {"data_source"})) r.data_source = as_text(*v);
  if (const Json* v = find(j, {"prompt"})) r.prompt = as_text(*v);
  if (const Json* v = find(j, {"extra_info"})) {
    FULMEN_CHECK(v->is_object(), std::string("extra_info: got ") + v->type_name() + ", want an object");
    r.extra_info = as_text(*v);
  }
  return r;
}

void write_verdict(std::ostream& out, const Json& id, const Verdict& v) {
  Json components = Json::object();
  for (const auto& [name, score] : v.components) components[name] = score;
  Json line = {{"id", id},
               {"verdict", kind_name(v.kind)},
               {"score", v.kind == Kind::kScore ? Json(v.score) : Json()},
               {"components", components},
               {"detail", v.detail},
               {"ms", v.ms}};
  out << line.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
}

}  // namespace

void score_lines(std::istream& in, std::ostream& out, Function& function) {
  std::string line;
  for (size_t number = 1; std::getline(in, line); number++) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json id;
    Verdict v;
    try {
      Json j = parse(line);
      if (j.is_object() && j.contains("id")) id = j["id"];
      v = function.score(read_record(j));
    } catch (const std::exception& e) {  // this line is no record; the next one may be
      v = Verdict{};
      v.kind = Kind::kError;
      v.detail = fmt::format("line {}: {}", number, reason(e));
    }
    write_verdict(out, id, v);
  }
}

}  // namespace fulmen::reward
