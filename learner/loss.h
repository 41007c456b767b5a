#pragma once
// The policy objectives. Everything a loss needs of the model is the learner log-prob of each sampled token; what it
// gives back is d loss / d logprob per token, so all of them share one backward pass. r = exp(learner - behaviour), A =
// advantage:
//
//   cispo  J = 1/N sum_t sg(clip(r, ratio_min, ratio_max)) A logp                (M1 report eq. 4-5; N = all tokens of
//   the update) dapo   J = 1/N sum_t min(r A, clip(r, ratio_min, ratio_max) A)               (token mean, asymmetric
//   clip) grpo   J = 1/S sum_i 1/|o_i| sum_t min(r A, clip(r, ...) A)                  (sequence mean; S sequences of
//   the update)
//
// ratio_min, ratio_max are absolute ratios (systems a.2): GRPO's epsilon 0.2 is ratio_min 0.8, ratio_max 1.2.
// The normaliser counts every trained token of the update over all micro-batches and ranks, so the gradient does not
// depend on the split. loss = -J; entropy_coef adds -entropy_coef * mean entropy.

#include <cstdint>
#include <span>
#include <string>

namespace fulmen::learner {

enum class LossKind { kCispo, kGrpo, kDapo };
LossKind parse_loss(const std::string& name);  // throws Error with the nearest known name

struct LossSettings {
  LossKind kind = LossKind::kCispo;
  double ratio_min = 0, ratio_max = 4;
  double entropy_coef = 0;
};

struct LossNormaliser {  // of one update, over all micro-batches and ranks
  int64_t tokens = 0, sequences = 0;
};

// Sums over tokens, so that micro-batches and ranks add up. Averages are made once, by the reporter.
struct LossStats {
  double loss = 0;  // already normalised: micro-batches add
  double tokens = 0, ratio_sum = 0, ratio_max = 0, ratio_min = 1e30;
  double clipped_high = 0, clipped_low = 0;         // tokens
  double weight_mass = 0, weight_mass_clipped = 0;  // sum |A| r, and the part of it the clip took away
  double kl1 = 0, kl3 = 0;                          // sum of (behaviour - learner), of exp(l) - l - 1
  double entropy = 0;
  void add(const LossStats& other);
};

// One sequence: log-probs of its completion tokens in, dlogprob (same length) written.
void policy_gradient(const LossSettings& s, const LossNormaliser& n, std::span<const float> learner,
                     std::span<const float> behaviour, double advantage, std::span<float> dlogprob, LossStats& stats);

}  // namespace fulmen::learner
