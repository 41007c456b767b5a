#include "reward/score_lines.h"

#include <fmt/core.h>

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>

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

// Names that have a place in Record, the shapes of other systems included.
bool has_place(const std::string& name) {
  static const std::set<std::string> kPlaces{"id",       "kind",         "data_source",  "prompt",
                                             "response", "completion",   "solution_str", "ground_truth",
                                             "answer",   "reward_model", "extra_info",   "deadline_ms"};
  return kPlaces.count(name) != 0;
}

// extra_info and, beside it, what the record has that nobody here knows (tests, language, difficulty, ...).
std::string read_extra(const Json& j) {
  Json extra = Json::object();
  if (const Json* v = find(j, {"extra_info"})) {
    FULMEN_CHECK(v->is_object(), std::string("extra_info: got ") + v->type_name() + ", want an object");
    extra = *v;
  }
  for (const auto& [name, value] : j.items())
    if (!has_place(name) && !extra.contains(name)) extra[name] = value;
  return as_text(extra);
}

Record read_record(const Json& j) {
  FULMEN_CHECK(j.is_object(), std::string("got ") + j.type_name() + ", want a JSON object");
  Record r;
  r.response = as_text(want(find(j, {"response", "completion", "solution_str"}), "response"));
  const Json* truth = find(j, {"ground_truth", "answer"});
  if (const Json* model = find(j, {"reward_model"}); !truth && model && model->is_object()) {
    truth = find(*model, {"ground_truth"});
  }
  r.has_truth = truth != nullptr;
  if (truth) r.ground_truth = as_text(*truth);
  if (const Json* v = find(j, {"kind"})) r.kind = as_text(*v);
  if (const Json* v = find(j, {"data_source"})) r.data_source = as_text(*v);
  if (const Json* v = find(j, {"prompt"})) r.prompt = as_text(*v);
  if (const Json* v = find(j, {"deadline_ms"})) {
    FULMEN_CHECK(v->is_number() && v->get<double>() > 0 && v->get<double>() < 1e9,
                 "deadline_ms: got " + as_text(*v) + ", want a number above 0");
    r.deadline_ms = static_cast<int>(std::ceil(v->get<double>()));
  }
  r.extra_info = read_extra(j);
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
               {"ms", v.ms},
               {"version", v.version}};
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
