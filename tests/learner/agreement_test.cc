#include "learner/agreement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fulmen::learner {
namespace {

TEST(Agreement, EqualBitsGiveCorrelationExactlyOne) {
  Agreement a;
  const std::vector<float> l = {-0.25f, -1.5f, -0.001f};
  a.add(l, l);
  EXPECT_EQ(a.bits_differing(), 0);
  EXPECT_EQ(a.correlation(), 1.0);
}

TEST(Agreement, OneBitInOneTokenIsSeen) {
  Agreement a;
  const std::vector<float> b = {-0.25f, -1.5f, -3.0f};
  std::vector<float> l = b;
  l[1] = std::nextafter(l[1], 0.0f);
  a.add(b, l);
  EXPECT_EQ(a.tokens(), 3);
  EXPECT_EQ(a.bits_differing(), 1);
  EXPECT_EQ(first_difference(b, l), 1);
  EXPECT_EQ(first_difference(b, b), -1);
}

TEST(Agreement, FiguresMatchTheirDefinitions) {
  Agreement a;
  const std::vector<float> b = {-0.5f, -1.0f, -2.0f}, l = {-0.6f, -1.0f, -1.7f};
  a.add(b, l);
  base::Metrics m;
  a.report(m);
  double mp = 0, mq = 0, k1 = 0, k3 = 0, worst = 0;
  for (int i = 0; i < 3; ++i) mp += std::exp((double)b[i]) / 3, mq += std::exp((double)l[i]) / 3;
  double pq = 0, pp = 0, qq = 0;
  for (int i = 0; i < 3; ++i) {
    const double p = std::exp((double)b[i]) - mp, q = std::exp((double)l[i]) - mq, d = (double)l[i] - (double)b[i];
    pq += p * q, pp += p * p, qq += q * q, k1 -= d / 3, k3 += (std::exp(d) - d - 1) / 3;
    worst = std::max(worst, std::abs(p + mp - q - mq));
  }
  EXPECT_NEAR(m["training/rollout_actor_probs_pearson_corr"], pq / std::sqrt(pp * qq), 1e-12);
  EXPECT_NEAR(m["rollout_corr/kl"], k1, 1e-12);
  EXPECT_NEAR(m["rollout_corr/k3_kl"], k3, 1e-12);
  EXPECT_NEAR(m["training/rollout_probs_diff_max"], worst, 1e-12);
}

}  // namespace
}  // namespace fulmen::learner
