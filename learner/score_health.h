#pragma once
// Whether the rewards of a run can be trusted, judged step by step: too many failed verdicts, score that follows
// length, length that grows and buys nothing. (M1's report: offline fixes did not stop length bias of generative
// judges, an online monitor did.) What is found is a line for people; reward.on_alarm says what is done about it.

#include <deque>
#include <span>
#include <string>
#include <vector>

#include "learner/episode.h"
#include "shared/base/config.h"
#include "shared/base/metrics.h"

namespace fulmen::learner {

// Pearson correlation of score with completion length, both centred inside their group (episodes with one prompt_id
// stand together). 0 when either does not vary. Only scored episodes count.
double length_correlation(std::span<const Episode> episodes);

class ScoreHealth {
 public:
  explicit ScoreHealth(const base::RewardSection& settings) : settings_(settings) {}

  // Writes reward/... metrics of the step (components by name, verdict shares, length figures) and returns what is
  // wrong, empty when nothing is.
  std::string add_step(std::span<const Episode> episodes, base::Metrics& m);

 private:
  struct Step {
    double length = 0, score = 0, correlation = 0;
  };
  static constexpr size_t kCorrelated = 5;  // steps in a row above the limit: one alone is noise
  static constexpr size_t kWindow = 20;     // steps; the newer half is compared with the older one

  std::string failures(std::span<const Episode> episodes, base::Metrics& m) const;
  std::string correlation_alarm() const;
  std::string drift_alarm() const;

  base::RewardSection settings_;
  std::deque<Step> steps_;
};

}  // namespace fulmen::learner
