#pragma once
// Training-inference agreement: behaviour log-probs (rollout) against learner log-probs of the same tokens and weights
// version, before any update. The first figure is the number of tokens whose 32 bits differ; it is 0 (numerics
// contract). Further figures are those others report (facts/numerics 1.2): Pearson correlation of probabilities (M1
// reported 0.99), |p - q| (verl's rollout_probs_diff), k1 = mean(behaviour - learner), k3 = mean(exp(l) - l - 1).

#include <cstdint>
#include <span>

#include "shared/base/metrics.h"

namespace fulmen::learner {

class Agreement {
 public:
  void add(std::span<const float> behaviour, std::span<const float> learner);  // one completion
  int64_t tokens() const { return n_; }
  int64_t bits_differing() const { return differing_; }  // tokens
  double correlation() const;                            // 1 exactly when every pair has equal bits
  void report(base::Metrics& m) const;                   // numerics/*, training/rollout_probs_diff_*, rollout_corr/*

 private:
  int64_t n_ = 0, differing_ = 0;
  double sum_p_ = 0, sum_q_ = 0, sum_pp_ = 0, sum_qq_ = 0, sum_pq_ = 0;
  double diff_sum_ = 0, diff_max_ = 0, k1_ = 0, k3_ = 0;
};

// Index of the first token whose bits differ, or -1.
int64_t first_difference(std::span<const float> behaviour, std::span<const float> learner);

}  // namespace fulmen::learner
