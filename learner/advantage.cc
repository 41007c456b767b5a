#include "learner/advantage.h"

#include <cmath>

namespace fulmen::learner {
namespace {

void assign_group(std::span<Episode> group, const AdvantageSettings& s, AdvantageCounts& counts) {
  double sum = 0, n = 0;
  for (Episode& e : group) {
    if (s.unparsable_is_zero && e.outcome == Outcome::kUnparsable) e.outcome = Outcome::kScored, e.score = 0;
    if (e.outcome != Outcome::kScored) {
      e.dropped = outcome_name(e.outcome);
    } else {
      sum += e.score, n += 1;
    }
  }
  const double mean = n > 0 ? sum / n : 0;
  double squares = 0;
  for (const Episode& e : group)
    if (e.dropped.empty()) squares += (e.score - mean) * (e.score - mean);
  const double deviation = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  const bool flat = squares == 0;
  if (n > 1 && flat) ++counts.zero_variance_groups;

  for (Episode& e : group) {
    if (!e.dropped.empty()) continue;
    e.advantage = s.by_std ? (e.score - mean) / (deviation + 1e-6) : e.score - mean;
    if (n < 2)
      e.dropped = "lonely";
    else if (flat && s.drop_zero_variance)
      e.dropped = "zero_variance";
    else if (e.truncated && s.mask_truncated)
      e.dropped = "truncated";
    else
      e.trained = true;
  }
}

}  // namespace

AdvantageCounts assign_advantages(std::span<Episode> episodes, const AdvantageSettings& s) {
  AdvantageCounts counts;
  for (size_t begin = 0, end = 0; begin < episodes.size(); begin = end) {
    while (end < episodes.size() && episodes[end].prompt_id == episodes[begin].prompt_id) ++end;
    ++counts.groups;
    assign_group(episodes.subspan(begin, end - begin), s, counts);
  }
  for (const Episode& e : episodes) {
    if (e.trained)
      ++counts.trained;
    else
      ++counts.dropped[e.dropped];
  }
  return counts;
}

}  // namespace fulmen::learner
