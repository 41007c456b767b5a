#include "learner/loss.h"

#include <algorithm>
#include <cmath>

#include "kernels/error.h"
#include "shared/base/config.h"

namespace fulmen::learner {

LossKind parse_loss(const std::string& name) {
  if (name == "cispo") return LossKind::kCispo;
  if (name == "grpo") return LossKind::kGrpo;
  if (name == "dapo") return LossKind::kDapo;
  throw Error("algorithm.loss: got " + name + ", want cispo, grpo or dapo; did you mean " +
              base::nearest(name, {"cispo", "grpo", "dapo"}) + "?");
}

void LossStats::add(const LossStats& o) {
  loss += o.loss, tokens += o.tokens, ratio_sum += o.ratio_sum;
  ratio_max = std::max(ratio_max, o.ratio_max), ratio_min = std::min(ratio_min, o.ratio_min);
  clipped_high += o.clipped_high, clipped_low += o.clipped_low;
  weight_mass += o.weight_mass, weight_mass_clipped += o.weight_mass_clipped;
  kl1 += o.kl1, kl3 += o.kl3, entropy += o.entropy;
}

void policy_gradient(const LossSettings& s, const LossNormaliser& n, std::span<const float> learner,
                     std::span<const float> behaviour, double advantage, std::span<float> dlogprob, LossStats& stats) {
  FULMEN_CHECK(learner.size() == behaviour.size() && learner.size() == dlogprob.size(),
               "policy_gradient: " + std::to_string(learner.size()) + " learner log-probs, " +
                   std::to_string(behaviour.size()) + " behaviour log-probs, want as many");
  const double scale = s.kind == LossKind::kGrpo
                           ? 1.0 / (static_cast<double>(n.sequences) * static_cast<double>(learner.size()))
                           : 1.0 / static_cast<double>(n.tokens);
  for (size_t t = 0; t < learner.size(); ++t) {
    const double log_ratio = static_cast<double>(learner[t]) - static_cast<double>(behaviour[t]);
    const double r = std::exp(std::clamp(log_ratio, -20.0, 20.0));
    const double clipped = std::clamp(r, s.ratio_min, s.ratio_max);
    double weight = 0;  // d J / d logprob, without the normaliser
    if (s.kind == LossKind::kCispo) {
      weight = clipped * advantage;
      stats.loss -= scale * weight * static_cast<double>(learner[t]);
    } else {
      const bool outside = advantage > 0 ? r > s.ratio_max : r < s.ratio_min;
      weight = outside ? 0 : r * advantage;  // min(rA, clip(r)A): flat where the clip binds
      stats.loss -= scale * std::min(r * advantage, clipped * advantage);
    }
    dlogprob[t] = static_cast<float>(-scale * weight);

    stats.tokens += 1, stats.ratio_sum += r;
    stats.ratio_max = std::max(stats.ratio_max, r), stats.ratio_min = std::min(stats.ratio_min, r);
    stats.clipped_high += r > s.ratio_max, stats.clipped_low += r < s.ratio_min;
    stats.weight_mass += std::abs(advantage) * r;
    stats.weight_mass_clipped += std::abs(advantage) * std::max(0.0, r - s.ratio_max);
    stats.kl1 -= log_ratio, stats.kl3 += r - log_ratio - 1;
  }
}

}  // namespace fulmen::learner
