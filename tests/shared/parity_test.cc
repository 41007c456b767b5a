// The law: whatever the rollout path did, the learner's forward gives the same bits.

#include "shared/model/parity.h"

#include <gtest/gtest.h>

#include "kernels/lightning.h"
#include "tests/shared/transformer_fixture.h"

namespace fulmen::model {
namespace {

struct Dtypes {
  const char* name;
  DType weights, cache;
};

void PrintTo(const Dtypes& d, std::ostream* out) { *out << d.name; }

class Parity : public testing::TestWithParam<Dtypes> {};
INSTANTIATE_TEST_SUITE_P(Roles, Parity,
                         testing::Values(Dtypes{"fp32", DType::kF32, DType::kF32},
                                         Dtypes{"bf16_weights", DType::kBf16, DType::kF32},
                                         Dtypes{"bf16_cache", DType::kF32, DType::kBf16},
                                         Dtypes{"bf16", DType::kBf16, DType::kBf16}),
                         [](const auto& p) { return p.param.name; });

void expect_equal(const ParityResult& r) {
  EXPECT_EQ(r.logprob.differ, 0) << "of " << r.logprob.values << " log-probs, up to " << r.logprob.max_difference;
  EXPECT_EQ(r.hidden.differ, 0) << "of " << r.hidden.values << " hidden values, up to " << r.hidden.max_difference;
  EXPECT_GT(r.logprob.values, 0);
}

TEST_P(Parity, RolloutAndLearnerGiveTheSameBits) {
  for (uint64_t seed : {1, 2}) {
    SmallModel m(parity_model(), GetParam().weights, seed);
    ParityPlan plan;
    plan.seed = seed;
    const auto episodes = parity_rollout(m.weights, GetParam().cache, plan, m.ctx);
    Tape tape(m.config(), false);
    expect_equal(compare(episodes, parity_learner(m.weights, GetParam().cache, plan, episodes, 1, nullptr, m.ctx)));
    expect_equal(compare(episodes, parity_learner(m.weights, GetParam().cache, plan, episodes, 4, &tape, m.ctx)));
  }
}

TEST_P(Parity, ThreadsAndInstructionSetsDoNotMatter) {
  SmallModel m(parity_model(), GetParam().weights), two(parity_model(), GetParam().weights, 11, 2);
  SmallModel narrow(parity_model(), GetParam().weights, 11, 1, "avx2");
  const ParityPlan plan;
  const auto episodes = parity_rollout(m.weights, GetParam().cache, plan, m.ctx);
  expect_equal(compare(episodes, parity_rollout(two.weights, GetParam().cache, plan, two.ctx)));
  expect_equal(
      compare(episodes, parity_learner(narrow.weights, GetParam().cache, plan, episodes, 2, nullptr, narrow.ctx)));
}

// A full block of lightning attention is closed by the first token after it: forks just before, at and after the seam.
TEST(ParityFork, AtTheEdgesOfBlocksAndPages) {
  SmallModel m;
  const ParityPlan plan{6, 3, 128, 70, 1.0f, 5, {1, 63, 64, 65, 127, 128}};
  const auto episodes = parity_rollout(m.weights, DType::kF32, plan, m.ctx);
  expect_equal(compare(episodes, parity_learner(m.weights, DType::kF32, plan, episodes, 1, nullptr, m.ctx)));
}

// Softmax attention merges splits of 1024 keys; a fork then happens in the third one.
TEST(ParityLong, SequencesOfSeveralAttentionSplits) {
  SmallModel m;
  const ParityPlan plan{1, 2, 2300, 20, 1.0f, 4};
  const auto episodes = parity_rollout(m.weights, DType::kF32, plan, m.ctx);
  ASSERT_GT(episodes[0].prompt, 1024u);
  expect_equal(compare(episodes, parity_learner(m.weights, DType::kF32, plan, episodes, 1, nullptr, m.ctx)));
}

TEST(ParityArchitecture, SharedExpertAndResidualBeforeNorm) {
  ModelConfig c = parity_model();
  c.shared_intermediate_size = 24;
  c.postnorm = false;
  SmallModel m(c, DType::kBf16);
  const ParityPlan plan;
  const auto episodes = parity_rollout(m.weights, DType::kBf16, plan, m.ctx);
  expect_equal(compare(episodes, parity_learner(m.weights, DType::kBf16, plan, episodes, 2, nullptr, m.ctx)));
}

TEST(ParityControl, WeightThatMovedByOneBitIsSeen) {
  SmallModel m, other;
  const ParityPlan plan;
  const auto episodes = parity_rollout(m.weights, DType::kF32, plan, m.ctx);
  float& x = other.weights.tensor(other.weights.index("model.layers.0.self_attn.qkv_proj.weight"))[0];
  x = std::nextafter(x, 2.0f);
  other.weights.pack(other.ctx);
  EXPECT_GT(compare(episodes, parity_learner(other.weights, DType::kF32, plan, episodes, 1, nullptr, other.ctx))
                .hidden.differ,
            0);
}

TEST(ParityControl, CacheRoundedOnOneSideOnlyIsSeen) {
  SmallModel m;
  const ParityPlan plan;
  const auto episodes = parity_rollout(m.weights, DType::kBf16, plan, m.ctx);
  const auto r = compare(episodes, parity_learner(m.weights, DType::kF32, plan, episodes, 1, nullptr, m.ctx));
  EXPECT_GT(r.logprob.differ, r.logprob.values / 2);
}

// The classical recurrence is the same function and other bits: a comparison that missed it would prove nothing.
TEST(ParityControl, TokenRecurrenceOfLightningAttentionIsSeen) {
  SmallModel m;
  const int H = m.config().num_heads, D = m.config().head_dim, T = 100;
  std::vector<float> slope(static_cast<size_t>(H)), pw(static_cast<size_t>(H * (kernels::kLightningBlock + 1)));
  kernels::lightning_slopes(H, 0, m.config().num_layers, slope.data());
  kernels::lightning_decay_table(slope.data(), H, pw.data());
  Buffer qkv(static_cast<size_t>(T * 3 * H * D)), block(static_cast<size_t>(T * H * D)), step(block.size());
  Buffer state(static_cast<size_t>(H * D * D));
  base::Stream random(3, base::Purpose::kTest);
  for (size_t i = 0; i < qkv.size(); ++i) qkv.data()[i] = random.next_normal();
  const kernels::Segment whole{0, T, 0, -1};
  kernels::lightning_forward(
      {mat(qkv.data(), T, 3 * H * D), mat(block.data(), T, H * D), pw.data(), H, D, {&whole, 1}, nullptr}, m.ctx);
  for (int64_t t = 0; t < T; ++t) {
    kernels::lightning_recurrent_step({mat(qkv.data() + t * 3 * H * D, 1, 3 * H * D),
                                       mat(step.data() + t * H * D, 1, H * D), pw.data(), H, D, state.data()},
                                      m.ctx);
  }
  int64_t differ = 0;
  double worst = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    differ += std::memcmp(block.data() + i, step.data() + i, 4) != 0;
    worst = std::max(worst, std::fabs(static_cast<double>(block.data()[i]) - step.data()[i]));
  }
  EXPECT_GT(differ, static_cast<int64_t>(block.size()) / 2);
  EXPECT_LT(worst, 1e-3);
}

TEST(Cache, BytesAreWhatItHolds) {
  const ModelConfig c = parity_model();
  // two lightning layers: H D D floats and 2 x 64 H D values; one softmax layer: 2 x 64 KV D values
  EXPECT_EQ(Cache::slot_bytes(c, DType::kF32), 2 * (6 * 16 * 16 * 4 + 2 * 64 * 6 * 16 * 4));
  EXPECT_EQ(Cache::slot_bytes(c, DType::kBf16), 2 * (6 * 16 * 16 * 4 + 2 * 64 * 6 * 16 * 2));
  EXPECT_EQ(Cache::page_bytes(c, DType::kF32), 2 * 64 * 2 * 16 * 4);
  EXPECT_EQ(Cache::page_bytes(c, DType::kBf16), 2 * 64 * 2 * 16 * 2);
}

TEST(Cache, WrongSlotsAndPagesThrow) {
  Cache cache(parity_model(), DType::kF32, 2, 3, 4);
  EXPECT_THROW(cache.copy_slot(0, 2, 5), Error);
  EXPECT_THROW(cache.copy_page(3, 0), Error);
  EXPECT_THROW(cache.set_page(0, 4, 0), Error);
  EXPECT_THROW(cache.set_page(0, 0, 3), Error);
  cache.set_page(1, 3, 2);
  EXPECT_EQ(cache.softmax(2).page_table[1 * 4 + 3], 2);
}

}  // namespace
}  // namespace fulmen::model
