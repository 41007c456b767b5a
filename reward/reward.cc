#include "reward/reward.h"

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
