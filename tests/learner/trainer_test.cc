#include "learner/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "learner/divergence.h"
#include "learner/run_checkpoint.h"
#include "shared/base/rng.h"

namespace fulmen::learner {
namespace {

model::ModelConfig tiny_config() {
  return model::parse_model_config(R"({"architectures":["MiniMaxM1ForCausalLM"],"model_type":"minimax_m1",
    "attn_type_list":[0,0,1],"hidden_size":32,"intermediate_size":32,"num_hidden_layers":3,"num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":16,"rotary_dim":8,"num_local_experts":4,"num_experts_per_tok":2,"vocab_size":61,
    "postnorm":true,"rope_theta":10000,"layernorm_mlp_alpha":2.0,"initializer_range":0.15})",
                                   "test");
}

struct Learner {
  kernels::ThreadPool pool{2};
  kernels::Context ctx = kernels::cpu_context(pool);
  model::Weights weights{tiny_config(), kernels::DType::kF32};
  std::unique_ptr<Trainer> trainer;
  explicit Learner(int64_t budget = 64, bool recompute = false) {
    weights.init_random(5);
    weights.pack(ctx);
    trainer = std::make_unique<Trainer>(weights, kernels::DType::kF32, recompute, budget, ctx);
  }
};

struct Data {
  std::vector<std::vector<int32_t>> prompt, target;
  std::vector<Sequence> sequences;
  explicit Data(int n, int shortest = 3, int longest = 90) {
    base::Stream rng(9, base::Purpose::kTest);
    for (int i = 0; i < n; ++i) {
      prompt.emplace_back(), target.emplace_back();
      for (int64_t k = rng.next_int(1, 9); k > 0; --k)
        prompt.back().push_back(static_cast<int32_t>(rng.next_int(0, 60)));
      for (int64_t k = rng.next_int(shortest, longest); k > 0; --k)
        target.back().push_back(static_cast<int32_t>(rng.next_int(0, 60)));
    }
    for (int i = 0; i < n; ++i) sequences.push_back({prompt[static_cast<size_t>(i)], target[static_cast<size_t>(i)]});
  }
};

void cross_entropy(size_t, std::span<const float> logprob, std::span<const float>, std::span<float> d,
                   std::span<float>) {
  for (size_t t = 0; t < logprob.size(); ++t) d[t] = -0.01f;
}

bool same_gradients(Trainer& a, Trainer& b) {
  for (size_t i = 0; i < a.gradients().size(); ++i)
    if (std::memcmp(a.gradients().tensor(i).data(), b.gradients().tensor(i).data(),
                    a.gradients().tensor(i).size_bytes()) != 0)
      return false;
  return true;
}

TEST(Trainer, GradientIsTheSameBitsForAnyMicroBatchBudget) {
  const Data data(7);
  Learner whole(100000), pieces(64), one_by_one(1), recomputed(64, true);
  for (Learner* l : {&whole, &pieces, &one_by_one, &recomputed})
    l->trainer->accumulate(data.sequences, 1, false, cross_entropy);
  EXPECT_TRUE(same_gradients(*whole.trainer, *pieces.trainer));
  EXPECT_TRUE(same_gradients(*whole.trainer, *one_by_one.trainer));
  EXPECT_TRUE(same_gradients(*whole.trainer, *recomputed.trainer));
}

TEST(Trainer, ScoreEqualsTheTrainingForwardBitForBit) {
  const Data data(5);
  Learner a(64), b(200);
  std::vector<std::vector<float>> scored;
  a.trainer->score(data.sequences, 1, scored);
  b.trainer->accumulate(
      data.sequences, 1, false,
      [&](size_t i, std::span<const float> logprob, std::span<const float>, std::span<float>, std::span<float>) {
        ASSERT_EQ(std::memcmp(logprob.data(), scored[i].data(), logprob.size_bytes()), 0);
      });
}

double mean_loss(Trainer& t, const Data& data) {
  std::vector<std::vector<float>> out;
  t.score(data.sequences, 1, out);
  double sum = 0, n = 0;
  for (const auto& s : out)
    for (const float l : s) sum -= l, n += 1;
  return sum / n;
}

TEST(Trainer, LearnsToRepeatASmallSet) {
  const Data data(4, 3, 12);
  Learner l;
  const double before = mean_loss(*l.trainer, data);
  for (int i = 0; i < 60; ++i) {
    l.trainer->accumulate(data.sequences, 1, false, cross_entropy);
    l.trainer->optimizer_step({.lr = 1e-2f});
  }
  EXPECT_LT(mean_loss(*l.trainer, data), 0.5 * before);
}

TEST(Trainer, GradientThatIsNotFiniteNamesItsTensor) {
  const Data data(2, 3, 6);
  Learner l;
  l.trainer->accumulate(data.sequences, 1, false, cross_entropy);
  l.trainer->gradients().tensor(3)[0] = std::nanf("");
  try {
    l.trainer->optimizer_step({});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(l.weights.specs()[3].name), std::string::npos) << e.what();
  }
}

// A weight of its own for every token, as advantages give: the loss moves along the gradient by its norm.
TEST(Trainer, GradientIsTheSlopeOfALossWithAWeightPerToken) {
  const Data data(6);
  Learner l;
  std::vector<std::vector<float>> weight, out;
  base::Stream rng(11, base::Purpose::kTest);
  for (const Sequence& s : data.sequences) {
    weight.emplace_back();
    for (size_t t = 0; t < s.target.size(); ++t) weight.back().push_back(0.05f * rng.next_normal());
  }
  const auto loss = [&] {
    l.trainer->score(data.sequences, 0.8f, out);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i)
      for (size_t t = 0; t < out[i].size(); ++t) sum += static_cast<double>(weight[i][t]) * out[i][t];
    return sum;
  };
  l.trainer->accumulate(data.sequences, 0.8f, false,
                        [&](size_t i, std::span<const float>, std::span<const float>, std::span<float> d,
                            std::span<float>) { std::copy(weight[i].begin(), weight[i].end(), d.begin()); });
  double squares = 0;
  for (size_t i = 0; i < l.trainer->gradients().size(); ++i)
    for (const float g : l.trainer->gradients().tensor(i)) squares += static_cast<double>(g) * g;
  const double norm = std::sqrt(squares), step = 2e-3;
  const auto move = [&](double by) {
    for (size_t i = 0; i < l.weights.num_tensors(); ++i)
      for (size_t k = 0; k < l.weights.tensor(i).size(); ++k)
        l.weights.tensor(i)[k] +=
            static_cast<float>(by * static_cast<double>(l.trainer->gradients().tensor(i)[k]) / norm);
    l.weights.pack(l.ctx);
  };
  move(step);
  const double up = loss();
  move(-2 * step);
  const double down = loss();
  EXPECT_NEAR((up - down) / (2 * step), norm, 0.02 * norm);
}

TEST(Schedule, WarmsUpAndDecays) {
  EXPECT_FLOAT_EQ(scheduled_lr("constant", 1, 0, 10, 100), 0.1f);
  EXPECT_FLOAT_EQ(scheduled_lr("constant", 1, 50, 10, 100), 1.0f);
  EXPECT_FLOAT_EQ(scheduled_lr("linear", 1, 55, 10, 100), 0.5f);
  EXPECT_NEAR(scheduled_lr("cosine", 1, 55, 10, 100), 0.5f, 1e-6);
}

TEST(Divergence, EqualPathsAgreeAndAPerturbedLayerIsNamed) {
  const Data data(1, 70, 80);
  Learner a, b;
  EXPECT_FALSE(find_divergence(a.weights, b.weights, kernels::DType::kF32, data.sequences[0], a.ctx).found);
  const size_t i = b.weights.index("model.layers.1.self_attn.out_proj.weight");
  b.weights.tensor(i)[0] += 0.01f;
  b.weights.pack(b.ctx);
  const Divergence d = find_divergence(a.weights, b.weights, kernels::DType::kF32, data.sequences[0], a.ctx);
  EXPECT_TRUE(d.found);
  EXPECT_EQ(d.layer, 1);
  EXPECT_EQ(d.position, 0);
}

class RunCheckpoint : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_ = ::testing::TempDir() + "/fulmen_run_checkpoint_test";
};

TEST_F(RunCheckpoint, TrainingGoesOnToTheSameBits) {
  const Data data(3, 3, 20);
  const auto train = [&](Trainer& t, int steps) {
    for (int i = 0; i < steps; ++i)
      t.accumulate(data.sequences, 1, false, cross_entropy), t.optimizer_step({.lr = 1e-3f});
  };
  Learner straight, first, second;
  train(*straight.trainer, 5);
  train(*first.trainer, 3);
  RunState state;
  state.step = 3, state.weights_version = 4, state.accuracy_before = 0.25;
  state.times.update = 1.5, state.reward_last = 0.75, state.config = {{"run.seed", "7"}};
  save_run_checkpoint(dir_, state, *first.trainer, 2);
  const RunState loaded = load_run_checkpoint(newest_run_checkpoint(dir_), *second.trainer);
  second.weights.pack(second.ctx);
  EXPECT_EQ(loaded.step, 3);
  EXPECT_EQ(loaded.accuracy_before, 0.25);
  EXPECT_EQ(loaded.times.update, 1.5);
  EXPECT_EQ(loaded.reward_last, 0.75);
  EXPECT_EQ(loaded.config, state.config);
  train(*second.trainer, 2);
  EXPECT_EQ(second.weights.root_digest(), straight.weights.root_digest());
}

TEST_F(RunCheckpoint, ADamagedOneIsPassedOverForTheOneBefore) {
  Learner l;
  RunState state;
  for (const int64_t step : {1, 2}) state.step = step, save_run_checkpoint(dir_, state, *l.trainer, 2);
  EXPECT_EQ(newest_run_checkpoint(dir_), dir_ + "/checkpoints/step_2");
  std::filesystem::resize_file(dir_ + "/checkpoints/step_2/adamw.bin", 100);
  EXPECT_EQ(newest_run_checkpoint(dir_), dir_ + "/checkpoints/step_1");
}

TEST_F(RunCheckpoint, OlderOnesGoOnlyBeyondKeep) {
  Learner l;
  RunState state;
  for (const int64_t step : {1, 2, 3}) state.step = step, save_run_checkpoint(dir_, state, *l.trainer, 2);
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/checkpoints/step_1"));
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/checkpoints/step_2"));
}

}  // namespace
}  // namespace fulmen::learner
