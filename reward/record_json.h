#pragma once
// Records and verdicts as JSON: the one form they have on stdin, in files, over HTTP and towards users' programs.
//
// Record: {"id", "kind", "data_source", "prompt", "response", "ground_truth", "extra_info", "deadline_ms"};
// ground_truth may stand where verl has it, in reward_model.ground_truth; solution_str and completion are other names
// of response, answer of ground_truth. Other fields are added to extra_info. Verdict: {"id", "verdict": "score" |
// "timeout" | "error" | "unparsable" | "undecided", "score", "components", "detail", "ms", "version"}; score is null
// unless the verdict is "score".

#include <exception>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "reward/reward.h"

namespace fulmen::reward {

using Json = nlohmann::ordered_json;  // keys come out as they are written here

Json parse_json(const std::string& text);          // throws for what is no JSON, or nested deeper than 64
std::string json_reason(const std::exception& e);  // what was wrong, in one line
std::string dump_json(const Json& j);              // one line; bytes that are no UTF-8 become U+FFFD
std::string text_of(const Json& j);                // a string as it is, anything else as JSON

Record read_record(const Json& j);  // throws Error naming what is missing or wrong
Json write_record(const Record& r);
Json write_verdict(const Json& id, const Verdict& v);
// What a user's program or server answers: a number, or an object with "score" or "verdict", "components" and "detail".
// Further numbers of the object become components. Throws Error.
Verdict read_verdict(const Json& j);

}  // namespace fulmen::reward
