#pragma once
// Group-relative advantages (GRPO, arXiv 2402.03300; M1 report 6.2): A_i = R_i - mean(R), divided by std(R) when by_std
// (unbiased, plus 1e-6, as verl computes it). Only scored episodes of a group enter; others are dropped and counted by
// reason.

#include <map>
#include <span>
#include <string>

#include "learner/episode.h"

namespace fulmen::learner {

struct AdvantageSettings {
  bool by_std = true;
  bool drop_zero_variance = true;
  bool mask_truncated = false;
  bool unparsable_is_zero =
      false;  // reward.unparsable: zero. Then an answer nobody can read scores 0, said so in the config
};

struct AdvantageCounts {
  int64_t trained = 0;
  std::map<std::string, int64_t> dropped;  // reason -> episodes
  int64_t groups = 0, zero_variance_groups = 0;
};

// Episodes must be sorted by (prompt_id, sample_index); a group is a run of equal prompt_id.
AdvantageCounts assign_advantages(std::span<Episode> episodes, const AdvantageSettings& s);

}  // namespace fulmen::learner
