#include "learner/agreement.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/error.h"

namespace fulmen::learner {

int64_t first_difference(std::span<const float> behaviour, std::span<const float> learner) {
  for (size_t i = 0; i < behaviour.size(); ++i)
    if (std::bit_cast<uint32_t>(behaviour[i]) != std::bit_cast<uint32_t>(learner[i])) return static_cast<int64_t>(i);
  return -1;
}

void Agreement::add(std::span<const float> behaviour, std::span<const float> learner) {
  FULMEN_CHECK(behaviour.size() == learner.size(), "agreement: " + std::to_string(behaviour.size()) +
                                                       " behaviour log-probs, want " + std::to_string(learner.size()));
  for (size_t i = 0; i < behaviour.size(); ++i) {
    const double b = behaviour[i], l = learner[i], p = std::exp(b), q = std::exp(l);
    differing_ += std::bit_cast<uint32_t>(behaviour[i]) != std::bit_cast<uint32_t>(learner[i]);
    sum_p_ += p, sum_q_ += q, sum_pp_ += p * p, sum_qq_ += q * q, sum_pq_ += p * q;
    diff_sum_ += std::abs(p - q), diff_max_ = std::max(diff_max_, std::abs(p - q));
    k1_ += b - l, k3_ += std::exp(l - b) - (l - b) - 1;
    ++n_;
  }
}

double Agreement::correlation() const {
  if (n_ == 0 || differing_ == 0) return 1;
  const double n = static_cast<double>(n_);
  const double cov = sum_pq_ - sum_p_ * sum_q_ / n;
  const double vp = sum_pp_ - sum_p_ * sum_p_ / n, vq = sum_qq_ - sum_q_ * sum_q_ / n;
  return vp > 0 && vq > 0 ? cov / std::sqrt(vp * vq) : 0;
}

void Agreement::report(base::Metrics& m) const {
  const double n = std::max<double>(1, static_cast<double>(n_));
  m["numerics/tokens_compared"] = static_cast<double>(n_);
  m["numerics/bits_differing"] = static_cast<double>(differing_);
  m["training/rollout_actor_probs_pearson_corr"] = correlation();
  m["training/rollout_probs_diff_mean"] = diff_sum_ / n;
  m["training/rollout_probs_diff_max"] = diff_max_;
  m["rollout_corr/kl"] = k1_ / n;
  m["rollout_corr/k3_kl"] = k3_ / n;
}

}  // namespace fulmen::learner
