#include "reward/score_lines.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/record_json.h"

namespace fulmen::reward {

void score_lines(std::istream& in, std::ostream& out, Function& function) {
  std::string line;
  for (size_t number = 1; std::getline(in, line); number++) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    Json id;
    Verdict v;
    try {
      Json j = parse_json(line);
      if (j.is_object() && j.contains("id")) id = j["id"];
      v = function.score(read_record(j));
    } catch (const std::exception& e) {  // this line is no record; the next one may be
      v = make_verdict(Kind::kError, 0, fmt::format("line {}: {}", number, json_reason(e)));
    }
    out << dump_json(write_verdict(id, v)) << '\n' << std::flush;
  }
}

}  // namespace fulmen::reward
