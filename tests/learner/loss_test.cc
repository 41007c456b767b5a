#include "learner/loss.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/error.h"

namespace fulmen::learner {
namespace {

const std::vector<float> kLearner = {-0.5f, -1.0f, -3.0f, -0.1f}, kBehaviour = {-0.5f, -2.5f, -1.0f, -0.4f};
const LossNormaliser kNorm{.tokens = 10, .sequences = 3};

// The objective as a number, straight from the formula; sg() holds the weight at the point of expansion.
double objective(const LossSettings& s, const std::vector<double>& logp, const std::vector<double>& at, double A) {
  double sum = 0;
  for (size_t t = 0; t < logp.size(); ++t) {
    const double b = kBehaviour[t];
    const double r = std::exp(logp[t] - b), r0 = std::exp(at[t] - b);
    const double clip = std::min(std::max(r, s.ratio_min), s.ratio_max),
                 clip0 = std::min(std::max(r0, s.ratio_min), s.ratio_max);
    if (s.kind == LossKind::kCispo) sum += clip0 * A * logp[t] / 10.0;
    if (s.kind == LossKind::kDapo) sum += std::min(r * A, clip * A) / 10.0;
    if (s.kind == LossKind::kGrpo) sum += std::min(r * A, clip * A) / (3.0 * static_cast<double>(logp.size()));
  }
  return -sum;
}

class EachLoss : public ::testing::TestWithParam<std::tuple<LossKind, double>> {};

TEST_P(EachLoss, GradientMatchesFiniteDifferencesOfTheFormula) {
  const auto [kind, A] = GetParam();
  const LossSettings s{.kind = kind, .ratio_min = 0.8, .ratio_max = 1.2};
  std::vector<float> d(4);
  LossStats stats;
  policy_gradient(s, kNorm, kLearner, kBehaviour, A, d, stats);
  const std::vector<double> at(kLearner.begin(), kLearner.end());
  EXPECT_NEAR(stats.loss, objective(s, at, at, A), 1e-12);
  for (size_t t = 0; t < 4; ++t) {
    std::vector<double> up = at, down = at;
    up[t] += 1e-6, down[t] -= 1e-6;
    EXPECT_NEAR(d[t], (objective(s, up, at, A) - objective(s, down, at, A)) / 2e-6, 1e-6) << "token " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, EachLoss,
                         ::testing::Combine(::testing::Values(LossKind::kCispo, LossKind::kGrpo, LossKind::kDapo),
                                            ::testing::Values(1.5, -0.7)));

TEST(Cispo, EveryTokenContributesAndWeightsAreAbsoluteBounds) {
  const LossSettings s{.kind = LossKind::kCispo, .ratio_min = 0, .ratio_max = 2};
  std::vector<float> d(4);
  LossStats stats;
  policy_gradient(s, kNorm, kLearner, kBehaviour, 1.0, d, stats);
  for (const float x : d) EXPECT_NE(x, 0);
  EXPECT_FLOAT_EQ(d[1], -2.0f / 10);  // ratio e^1.5 = 4.48 is cut to 2
  EXPECT_EQ(stats.clipped_high, 1);
  EXPECT_EQ(stats.clipped_low, 0);
  EXPECT_NEAR(stats.weight_mass_clipped, std::exp(1.5) - 2, 1e-9);
}

TEST(Cispo, OnPolicyRatioIsExactlyOne) {
  std::vector<float> d(4);
  LossStats stats;
  policy_gradient({}, kNorm, kLearner, kLearner, 2.0, d, stats);
  EXPECT_EQ(stats.ratio_max, 1.0);
  EXPECT_EQ(stats.ratio_min, 1.0);
  for (const float x : d) EXPECT_EQ(x, -0.2f);
}

TEST(Loss, UnknownNameSaysTheNearest) {
  try {
    parse_loss("cipso");
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean cispo"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace fulmen::learner
