#include "reward/record_json.h"

#include <fmt/core.h>

#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>

#include "kernels/error.h"
#include "shared/base/nested_json.h"
#include "shared/base/printable.h"

namespace fulmen::reward {
namespace {

constexpr int kMaxDepth = 64;  // printing is recursive

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
  return text_of(extra);
}

Kind kind_of_name(const std::string& name) {
  for (const Kind k : {Kind::kScore, Kind::kTimeout, Kind::kError, Kind::kUnparsable, Kind::kUndecided})
    if (name == kind_name(k)) return k;
  throw Error("verdict: got " + base::printable(name, 40) + ", want score, timeout, error, unparsable or undecided");
}

double finite(const Json& j, const std::string& what) {
  FULMEN_CHECK(j.is_number() || j.is_boolean(), what + ": got " + base::printable(text_of(j), 80) + ", want a number");
  const double value = j.is_boolean() ? (j.get<bool>() ? 1.0 : 0.0) : j.get<double>();
  FULMEN_CHECK(std::isfinite(value), what + ": not a finite number");
  return value;
}

}  // namespace

Json parse_json(const std::string& text) { return base::parse_nested<Json>(text, kMaxDepth); }

std::string json_reason(const std::exception& e) {
  if (auto* parse_error = dynamic_cast<const Json::parse_error*>(&e)) {
    return fmt::format("not JSON from character {} on", parse_error->byte);
  }
  return e.what();
}

std::string dump_json(const Json& j) { return j.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string text_of(const Json& j) { return j.is_string() ? j.get<std::string>() : dump_json(j); }

Record read_record(const Json& j) {
  FULMEN_CHECK(j.is_object(), std::string("got ") + j.type_name() + ", want a JSON object");
  Record r;
  r.response = text_of(want(find(j, {"response", "completion", "solution_str"}), "response"));
  const Json* truth = find(j, {"ground_truth", "answer"});
  if (const Json* model = find(j, {"reward_model"}); !truth && model && model->is_object()) {
    truth = find(*model, {"ground_truth"});
  }
  r.has_truth = truth != nullptr;
  if (truth) r.ground_truth = text_of(*truth);
  if (const Json* v = find(j, {"kind"})) r.kind = text_of(*v);
  if (const Json* v = find(j, {"data_source"})) r.data_source = text_of(*v);
  if (const Json* v = find(j, {"prompt"})) r.prompt = text_of(*v);
  if (const Json* v = find(j, {"deadline_ms"})) {
    FULMEN_CHECK(v->is_number() && v->get<double>() > 0 && v->get<double>() < 1e9,
                 "deadline_ms: got " + base::printable(text_of(*v), 40) + ", want a number above 0");
    r.deadline_ms = static_cast<int>(std::ceil(v->get<double>()));
  }
  if (const Json* v = find(j, {"tokens"})) {
    const double tokens = finite(*v, "tokens");
    FULMEN_CHECK(tokens >= 0 && tokens < 1e15, "tokens: got " + base::printable(text_of(*v), 40) + ", want 0 or more");
    r.tokens = static_cast<int64_t>(tokens);
  }
  r.extra_info = read_extra(j);
  return r;
}

Json write_record(const Record& r) {
  Json extra = Json::parse(r.extra_info, nullptr, false);
  Json j = {{"id", r.id},
            {"kind", r.kind},
            {"data_source", r.data_source},
            {"prompt", r.prompt},
            {"response", r.response},
            {"ground_truth", r.has_truth ? Json(r.ground_truth) : Json()},
            {"extra_info", extra.is_object() ? std::move(extra) : Json::object()}};
  if (r.tokens >= 0) j["tokens"] = r.tokens;
  if (r.deadline_ms > 0) j["deadline_ms"] = r.deadline_ms;
  return j;
}

Json write_verdict(const Json& id, const Verdict& v) {
  Json components = Json::object();
  for (const auto& [name, score] : v.components) components[name] = score;
  return {{"id", id},
          {"verdict", kind_name(v.kind)},
          {"score", v.kind == Kind::kScore ? Json(v.score) : Json()},
          {"components", components},
          {"detail", v.detail},
          {"ms", v.ms},
          {"version", v.version}};
}

Verdict read_verdict(const Json& j) {
  if (!j.is_object()) return make_verdict(Kind::kScore, finite(j, "score"), "");
  Verdict v;
  if (const Json* detail = find(j, {"detail"})) v.detail = text_of(*detail);
  if (const Json* error = find(j, {"error"})) return make_verdict(Kind::kError, 0, text_of(*error));
  if (const Json* kind = find(j, {"verdict"})) v.kind = kind_of_name(text_of(*kind));
  if (v.kind == Kind::kScore) v.score = finite(want(find(j, {"score"}), "score"), "score");
  if (const Json* components = find(j, {"components"})) {
    FULMEN_CHECK(components->is_object(),
                 "components: got " + base::printable(text_of(*components), 80) + ", want an object");
    for (const auto& [name, value] : components->items()) v.components.emplace_back(name, finite(value, name));
  }
  for (const auto& [name, value] : j.items()) {
    const bool own = name == "id" || name == "score" || name == "ms";
    if (!own && (value.is_number() || value.is_boolean())) v.components.emplace_back(name, finite(value, name));
  }
  return v;
}

}  // namespace fulmen::reward
