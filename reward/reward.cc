#include "reward/reward.h"

#include <fmt/core.h>

namespace fulmen::reward {

const char* kind_name(Kind k) {
  switch (k) {
    case Kind::kScore:
      return "score";
    case Kind::kTimeout:
      return "timeout";
    case Kind::kError:
      return "error";
    case Kind::kUnparsable:
      return "unparsable";
    case Kind::kUndecided:
      return "undecided";
  }
  return "error";
}

Verdict make_verdict(Kind kind, double score, std::string detail) {
  Verdict v;
  v.kind = kind;
  v.score = score;
  v.detail = std::move(detail);
  return v;
}

std::string verdict_text(const Verdict& v) {
  return v.kind == Kind::kScore ? fmt::format("score {:.4g}", v.score) : kind_name(v.kind);
}

std::string Function::truth_problem(const Record& record) {
  if (!wants_truth()) return "";
  if (!record.has_truth) return "no \"ground_truth\"";
  Record r = record;
  Verdict shown;
  for (const std::string& response :
       {"\\boxed{" + r.ground_truth + "}", r.ground_truth, "<answer>" + r.ground_truth + "</answer>"}) {
    r.response = response;
    const Verdict v = score(r);
    if (v.kind == Kind::kScore && v.score > 0) return "";
    if (shown.detail.empty()) shown = v;  // the boxed form is the one that says best what is wrong
  }
  return "not accepted as its own answer: " + verdict_text(shown) + (shown.detail.empty() ? "" : ": " + shown.detail);
}

std::vector<Verdict> Function::score_all(std::span<const Record> records) {
  std::vector<Verdict> verdicts;
  for (const Record& r : records) {
    try {
      verdicts.push_back(score(r));
    } catch (const std::exception& e) {  // costs this record alone
      verdicts.push_back(make_verdict(Kind::kError, 0, e.what()));
    }
  }
  return verdicts;
}

}  // namespace fulmen::reward
