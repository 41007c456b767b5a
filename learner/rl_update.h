#pragma once
// The learner's half of one RL step: compare log-probs with rollout's, then updates_per_step optimizer steps on the
// trained episodes. Everything is a function of the episodes, their order and the weights.

#include <functional>
#include <span>

#include "learner/agreement.h"
#include "learner/episode.h"
#include "learner/loss.h"
#include "learner/trainer.h"
#include "shared/base/config.h"
#include "shared/base/metrics.h"

namespace fulmen::learner {

struct Disagreement {  // first episode with a differing token, for the message
  const Episode* episode = nullptr;
  int64_t token = 0;
  float behaviour = 0, learner = 0;
};

struct UpdateResult {
  Agreement agreement;  // over all sampled tokens of all episodes, before any update
  Disagreement first;   // episode == nullptr when all bits agree
  LossStats first_update, all_updates;
  double loss = 0, grad_norm = 0;  // means over updates
  float lr = 0;                    // of the last update
  int64_t updates = 0, trained_tokens = 0;
  double entropy = 0;  // mean over trained tokens, first update
  double score_s = 0, update_s = 0;
};

// Episodes sorted by (prompt_id, sample_index), advantages assigned. With one update a step the training forward itself
// is the comparison for trained episodes; others (and all, with more updates) get a forward of their own.
// total_updates: of the whole run, for the schedule. on_rows(rows done, rows in all) for progress.
UpdateResult rl_update(const base::Config& config, std::span<Episode> episodes, Trainer& trainer,
                       const std::function<void(int64_t, int64_t)>& on_rows = {});

void report(const UpdateResult& r, const base::Config& config, base::Metrics& m);

}  // namespace fulmen::learner
