#include "reward/golden_cases.h"

#include <fmt/core.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/error.h"
#include "reward/record_json.h"

namespace fulmen::reward {
namespace {

std::string described(Kind kind, double score) {
  return kind == Kind::kScore ? fmt::format("score {:.6g}", score) : kind_name(kind);
}

}  // namespace

std::vector<GoldenCase> read_golden_cases(const std::string& path) {
  std::ifstream in(path);
  FULMEN_CHECK(in.good(), "golden cases: cannot read " + path);
  std::vector<GoldenCase> cases;
  std::string line;
  for (size_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    GoldenCase c;
    c.where = fmt::format("{}:{}", path, number);
    try {
      Json j = parse_json(line);
      FULMEN_CHECK(j.is_object() && (j.contains("score") || j.contains("verdict")),
                   "want a record with the \"score\" or the \"verdict\" it must get");
      const Verdict v = read_verdict(j);
      c.kind = v.kind;
      c.score = v.score;
      for (const char* name : {"score", "verdict", "components", "detail"}) j.erase(name);
      c.record = read_record(j);
      c.record.fresh = true;
    } catch (const std::exception& e) {
      throw Error(c.where + ": " + json_reason(e));
    }
    cases.push_back(std::move(c));
  }
  FULMEN_CHECK(!cases.empty(), "golden cases: " + path + " holds none");
  return cases;
}

std::string compare(const GoldenCase& wanted, const Verdict& got) {
  constexpr double kTolerance = 1e-6;
  const bool same = wanted.kind == got.kind &&
                    (wanted.kind != Kind::kScore ||
                     std::abs(wanted.score - got.score) <= kTolerance * std::max(1.0, std::abs(wanted.score)));
  if (same) return "";
  return fmt::format("{}: got {}, want {}{}", wanted.where, described(got.kind, got.score),
                     described(wanted.kind, wanted.score), got.detail.empty() ? "" : " (" + got.detail + ")");
}

std::vector<std::string> check_golden_cases(const std::vector<GoldenCase>& cases, Function& function) {
  std::vector<std::string> wrong;
  for (const GoldenCase& c : cases) {
    const std::string text = compare(c, function.score(c.record));
    if (!text.empty()) wrong.push_back(text);
  }
  return wrong;
}

}  // namespace fulmen::reward
